// The table of smuggling_test.cc: bytes of one request, or of what two parsers might take for several, and what has to
// come of them.
#pragma once

#include <string>
#include <vector>

namespace echelon::testing::smuggling {

using namespace std::string_literals;

inline const std::string kBody = R"({"prompt":"abc"})";  // 16 bytes
inline const std::string kHidden = "GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n";

struct Case {
  std::string bytes;
  std::vector<int> answers;  ///< statuses
  bool next = true;          ///< GET /version is answered
  std::string seen = {};     ///< in the last answer's body
};

inline Case refused(std::string bytes, int status = 400) { return {std::move(bytes), {status}, false}; }
inline Case framed(std::string bytes, int status = 200) { return {std::move(bytes), {status}}; }

inline std::string line(const std::string& text) { return text + "\r\nHost: a\r\n\r\n"; }
inline std::string target(const std::string& text) { return line("GET " + text + " HTTP/1.1"); }
inline std::string fields(const std::string& text) {
  return "GET /version HTTP/1.1\r\nHost: a\r\n" + text + "\r\n\r\n";
}
inline std::string host(const std::string& text) { return "GET /version HTTP/1.1\r\n" + text + "\r\n\r\n"; }
inline std::string post(const std::string& lines, const std::string& body = kBody) {
  return "POST /tokenize HTTP/1.1\r\nHost: a\r\n" + lines + "\r\n\r\n" + body;
}
inline std::string length(const std::string& value) { return post("Content-Length:" + value); }
inline std::string encoding(const std::string& value) {
  return post("Transfer-Encoding:" + value, "10\r\n" + kBody + "\r\n0\r\n\r\n");
}
inline std::string chunks(const std::string& text) { return post("Transfer-Encoding: chunked", text); }
inline std::string chunk(const std::string& size_line) { return chunks(size_line + kBody + "\r\n0\r\n\r\n"); }
inline std::string last_chunk(const std::string& text) { return chunks("10\r\n" + kBody + "\r\n" + text); }
inline Case counted(std::string bytes) { return {std::move(bytes), {200}, true, R"("count":3)"}; }

inline std::vector<Case> request_lines() {
  std::vector<Case> cases = {
      framed(line("GET /version HTTP/1.1")),
      framed("\r\n" + line("GET /version HTTP/1.1")),
      refused("\r\n\r\n" + line("GET /version HTTP/1.1")),
      refused("\n" + line("GET /version HTTP/1.1")),
      refused("\r" + line("GET /version HTTP/1.1")),
      refused("GET /version HTTP/1.1\nHost: a\r\n\r\n"),
      refused("GET /version HTTP/1.1\nHost: a\n\n"),
      refused("GET /version HTTP/1.1\rHost: a\r\n\r\n"),
      refused("GET /version HTTP/1.1\r\r\nHost: a\r\n\r\n"),
      framed(line("get /version HTTP/1.1"), 405),
      framed(line("BREW /version HTTP/1.1"), 405),
      refused(line("CONNECT a:80 HTTP/1.1")),
      refused(line("CONNECT /version HTTP/1.1")),
      refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
      refused("\x16\x03\x01\x02\x00\x01"s),
      refused("SSH-2.0-OpenSSH_9.0\r\n"),
      {"GET /version HTTP/1.0\r\n\r\n", {200}, false},
      framed("GET /version HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
      framed(line("GET /version HTTP/1.1") + line("GET /version HTTP/1.1"), 200),
  };
  cases.back().answers = {200, 200};
  for (const char* bad : {" GET /version HTTP/1.1",
                          "\tGET /version HTTP/1.1",
                          "GET  /version HTTP/1.1",
                          "GET /version  HTTP/1.1",
                          "GET\t/version HTTP/1.1",
                          "GET /version\tHTTP/1.1",
                          "GET /version HTTP/1.1 ",
                          "GET /version HTTP/1.1\t",
                          "GET /version HTTP/1.1 x",
                          "GET /version",
                          "GET",
                          "",
                          "/version HTTP/1.1",
                          "G(T /version HTTP/1.1",
                          "G\xc3\x89T /version HTTP/1.1",
                          "GET /version http/1.1",
                          "GET /version HTTP/1.10",
                          "GET /version HTTP/01.1",
                          "GET /version HTTP/1.01",
                          "GET /version HTTP/2.0",
                          "GET /version HTTP/0.9",
                          "GET /version HTTP/1.2",
                          "GET /version HTTP/11",
                          "GET /version HTTP /1.1",
                          "GET /version HTTPS/1.1",
                          "GET /version HTTP/1,1",
                          "GET /version HTTP/-1.1",
                          "GET /version HTTP/1.1;a",
                          "HTTP/1.1 200 OK"})
    cases.push_back(refused(line(bad)));
  cases.push_back(refused(line("G\0T /version HTTP/1.1"s)));
  return cases;
}

inline std::vector<Case> targets() {
  std::vector<Case> cases = {framed(line("OPTIONS * HTTP/1.1"), 204),
                             refused(target("/" + std::string(9000, 'a')), 414), refused(target("/version\0"s)),
                             refused(target("/\0/version"s))};
  for (const char* good : {"/version?", "/version?a=b?c/d", "/version?//", "http://a/version", "HTTP://A/version",
                           "https://a/version", "http://other:80/version", "http://[::1]:80/version?x"})
    cases.push_back(framed(target(good)));
  for (const char* nothing : {"//version",
                              "//v1/models",
                              "///",
                              "/./version",
                              "/../version",
                              "/v1/../version",
                              "/%2e%2e/version",
                              "/%2e/version",
                              "/v1%2fmodels",
                              "/v1/%2e%2e/version",
                              "/VERSION",
                              "/version/",
                              "/%76ersion",
                              "/version;a=b",
                              "/version%20",
                              "/version%00",
                              "/%00",
                              "/%ff",
                              "/version%0d%0aHost:%20b",
                              "http://a",
                              "http://a?x",
                              "http://a//",
                              "/v1/models/%2e%2e%2fversion",
                              "/v1/files/%2e%2e%2f%2e%2e%2fetc%2fpasswd/content",
                              "/http://a/version"})
    cases.push_back(framed(target(nothing), 404));
  for (const char* bad : {"",
                          "*",
                          "version",
                          "?x",
                          "a:80",
                          "/version#f",
                          "/ver sion",
                          "/\x01",
                          "/\x7f",
                          "/\xff",
                          "/\xc3\xa9",
                          "/%",
                          "/%4",
                          "/%zz",
                          "/version?%zz",
                          "/version?\xff",
                          "\\version",
                          "/\\version",
                          "/a|b",
                          "/{a}",
                          "/\"",
                          "/^",
                          "/<",
                          "http:///version",
                          "http:/version",
                          "http:version",
                          "http://u@a/version",
                          "http://u:p@a/version",
                          "http://a b/version",
                          "http://a/version#f",
                          "ftp://a/version",
                          "file:///version",
                          "javascript:x",
                          "ws://a/"})
    cases.push_back(refused(target(bad)));
  return cases;
}

inline std::vector<Case> header_lines() {
  std::vector<Case> cases = {refused(fields("X: " + std::string(33000, 'a')), 431), refused(fields("X: a\0b"s)),
                             refused(fields("X\0: a"s)), refused("GET /version HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n")};
  for (const char* good :
       {"X:", "X: ", "X:a", "X: \t a \t ", "X: a\tb", "X: \xff", "X: a: b", "Content_Length: 5",
        "Transfer_Encoding: chunked", "TE: chunked", "Trailer: X", "Connection: Content-Length, Host",
        "Connection: upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk"})
    cases.push_back(framed(fields(good)));
  for (const char* bad : {"X",
                          "X ",
                          ":",
                          ": a",
                          " X: a",
                          "\tX: a",
                          "X : a",
                          "X\t: a",
                          "X(: a",
                          "X\x80: a",
                          "X y: a",
                          "X: \x01",
                          "X: \x7f",
                          "X: \x1b[0m",
                          "X: a\r\n b",
                          "X: a\r\n\tb",
                          "X:\r\n b",
                          "X: a\r\n \r\nY: b",
                          "X: a\rb",
                          "X: a\r\rb",
                          "X: a\nY: b",
                          "X: a\n b",
                          "X: a\nContent-Length: 5",
                          "X: a\n\r\nGET /health/live HTTP/1.1\r\nHost: a",
                          "X: a\r\n\nY: b",
                          "Content-Length:\r\n 0",
                          "Transfer-Encoding:\r\n chunked",
                          "Host\r\n: a",
                          "Connection: a b"})
    cases.push_back(refused(fields(bad)));
  cases.push_back({fields("Connection: close"), {200}, false});
  cases.push_back({fields("Connection: keep-alive, close"), {200}, false});
  cases.push_back(refused(fields("Expect: 200-ok"), 417));
  return cases;
}

inline std::vector<Case> hosts() {
  std::vector<Case> cases;
  for (const char* good : {"Host: a", "host: a", "Host:a", "Host: a.b-c_d:8000", "Host: 127.0.0.1:8000", "Host: [::1]",
                           "Host: [::1]:80", "Host:", "Host: a:", "Host: %2ftmp%2fsocket"})
    cases.push_back(framed(host(good)));
  for (const char* bad :
       {"X: a",          "Host: a\r\nHost: a", "Host: a\r\nHost: b", "Host: a\r\nhost: a", "Host: a, b",
        "Host: a b",     "Host: a/b",          "Host: http://a",     "Host: u@a",          "Host: a:b",
        "Host: a:80:80", "Host: [::1",         "Host: ::1",          "Host: a\\b",         "Host: a?b",
        "Host: a#b",     "Host: %zz",          "Host: \xc3\xa9",     "Host: a\"",          "Host : a"})
    cases.push_back(refused(host(bad)));
  return cases;
}

inline std::vector<Case> lengths() {
  const std::string hidden = "Content-Length: " + std::to_string(kHidden.size());
  std::vector<Case> cases = {
      counted(length(" 16")),
      counted(length("16")),
      counted(length(" \t16\t ")),
      counted(length(" 0000016")),
      counted(post("CONTENT-LENGTH: 16")),
      framed(post("X: y", ""), 400),
      framed(post("Content-Length: 0", ""), 400),
      framed(fields("Content-Length: 5") + "hello"),
      framed(fields(hidden) + kHidden),
      {"OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", {204}},
      {length(" 15"), {400, 400}, false},
      {length(" 0"), {400, 400}, false},
      {post("Expect: 100-continue\r\nContent-Length: 16"), {100, 200}, true, R"("count":3)"},
      refused(length(" 33554433"), 413),
      refused(length(" 9223372036854775807"), 413),
      refused(length(" 18446744073709551615"), 413),
      refused("POST /tokenize HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n" + kBody + "\r\n0\r\n\r\n"),
  };
  for (const char* bad : {"",
                          " ",
                          " +16",
                          " -16",
                          " -0",
                          " 0x10",
                          " 16,16",
                          " 16, 16",
                          " 16, 17",
                          " 16;",
                          " 1 6",
                          " 16.0",
                          " 1e1",
                          " ,16",
                          " 16,",
                          " \"16\"",
                          " \xef\xbc\x91\xef\xbc\x96",

                          " 18446744073709551616",
                          " 18446744073709551632",
                          " 99999999999999999999999999",
                          " 16\r\nContent-Length: 16",
                          " 16\r\nContent-Length: 17",
                          " 16\r\ncontent-length: 16",
                          " 0\r\nTransfer-Encoding: chunked",
                          " 16\r\nTransfer-Encoding: chunked",
                          " 16\r\nTransfer-Encoding: identity",
                          " 16\r\n 0"})
    cases.push_back(refused(length(bad)));
  return cases;
}

inline std::vector<Case> encodings() {
  std::vector<Case> cases = {counted(encoding(" chunked")), counted(encoding("chunked")), counted(encoding(" Chunked")),
                             counted(encoding("\t chunked \t"))};
  for (const char* bad : {"",
                          " identity",
                          " gzip",
                          " gzip, chunked",
                          " chunked, gzip",
                          " chunked, chunked",
                          " xchunked",
                          " chunkedx",
                          " chunked;q=1",
                          " , chunked",
                          " chunked,",
                          " \"chunked\"",
                          " chunked\r\nTransfer-Encoding: chunked",
                          " identity\r\nTransfer-Encoding: chunked",
                          " chunked\r\nTransfer-Encoding: identity",
                          " chunked\r\nContent-Length: 16",
                          " chunked\r\nContent-Length: 0",
                          " \x0b"
                          "chunked",
                          " chun\r\n ked",
                          " chunked\r\n x",
                          " chunked\x7f"})
    cases.push_back(refused(encoding(bad)));
  cases.push_back(refused(post("Transfer-Encoding : chunked", "0\r\n\r\n")));
  cases.push_back(refused(post("Transfer-Encoding\0: chunked"s, "0\r\n\r\n")));
  return cases;
}

inline std::vector<Case> chunk_lines() {
  const std::string long_extension = "1;" + std::string(20000, 'a') + "\r\n \r\n";
  std::vector<Case> cases = {
      counted(chunks("1\r\n{\r\nF\r\n" + kBody.substr(1) + "\r\n0\r\n\r\n")),
      counted(last_chunk("00000\r\n\r\n")),
      counted(last_chunk("0;a=b\r\n\r\n")),
      counted(last_chunk("0\r\nX: y\r\n\r\n")),
      counted(last_chunk("0\r\nHost: b\r\nAuthorization: c\r\nConnection: close\r\n\r\n")),
      {chunks("0\r\n\r\n"), {400}},
      {chunk("10\r\n") + kHidden, {200, 200}},
      refused(chunk("ffffffffffffffff\r\n"), 413),
      refused(chunks(long_extension + long_extension + "0\r\n\r\n"), 431),
      refused(chunk("10;\0\r\n"s)),
      refused(chunk("10\0\r\n"s)),
      refused(chunks("10\r\n" + kBody + "\n0\r\n\r\n")),
      refused(chunks("10\r\n" + kBody + "\r0\r\n\r\n")),
      refused(chunks("10\r\n" + kBody + "0\r\n\r\n")),
  };
  for (const char* good : {"10\r\n", "0010\r\n", "00000000000000000010\r\n", "10;a\r\n", "10;a=b;c\r\n",
                           "10 ; a = b\r\n", "10;a=\"b;c\\\"\"\r\n"})
    cases.push_back(counted(chunk(good)));
  for (const char* bad : {"0x10\r\n",
                          "+10\r\n",
                          "-10\r\n",
                          " 10\r\n",
                          "10 \r\n",
                          "10\t\r\n",
                          "1 0\r\n",
                          "g\r\n",
                          "\r\n",
                          ";a\r\n",
                          "10,\r\n",
                          "10\n",
                          "10\r",
                          "10\r\r\n",
                          "10;\r\n",
                          "10;a=\r\n",
                          "10;a b\r\n",
                          "10;a\n",
                          "10;a\nb\r\n",
                          "10;a\rb\r\n",
                          "10;a=\"b\nc\"\r\n",
                          "10;a=\"b\r\nc\"\r\n",
                          "10;a=\"b\r\n",
                          "10;a=\"\\\n\"\r\n",
                          "11\r\n",
                          "f\r\n",
                          "10000000000000010\r\n",
                          "ffffffffffffffff1\r\n",
                          "\xef\xbc\x91\xef\xbc\x90\r\n"})
    cases.push_back(refused(chunk(bad)));
  for (const char* bad :
       {"0\n\n", "0\r\n\n", "0\n\r\n", "0\r\n", "0;\r\n\r\n", "0;a=\"\n\"\r\n\r\n", "\r\n0\r\n\r\n",
        "0\r\nX : y\r\n\r\n", "0\r\nX\r\n\r\n", "0\r\nX: y\n\r\n", "0\r\n X: y\r\n\r\n", "0\r\nX: a\rb\r\n\r\n",
        "0\r\nContent-Length: 5\r\n\r\n", "0\r\nTransfer-Encoding: chunked\r\n\r\n", "0x0\r\n\r\n", "-0\r\n\r\n"})
    cases.push_back(refused(last_chunk(bad)));
  return cases;
}

}  // namespace echelon::testing::smuggling
