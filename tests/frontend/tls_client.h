// Certificates made for a test, and a blocking client that speaks TLS.
#pragma once

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "tests/frontend/http_client.h"

namespace echelon::testing {

/// Writes a certificate that signs itself, for the name `name`, and its key.
inline void write_certificate(const std::string& name, const std::string& certificate_file,
                              const std::string& key_file) {
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"), &EVP_PKEY_free);
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(X509_new(), &X509_free);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -60);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
  X509_NAME* subject = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1,
                             0);
  X509_set_issuer_name(certificate.get(), subject);
  X509_set_pubkey(certificate.get(), key.get());
  X509_sign(certificate.get(), key.get(), EVP_sha256());
  FILE* file = std::fopen(certificate_file.c_str(), "w");
  PEM_write_X509(file, certificate.get());
  std::fclose(file);
  file = std::fopen(key_file.c_str(), "w");
  PEM_write_PrivateKey(file, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  std::fclose(file);
  ::chmod(key_file.c_str(), 0600);
}

class TlsClient {
 public:
  /// Throws boost::system::system_error when there is no handshake. `version`: the only one that is spoken.
  explicit TlsClient(uint16_t port, int version = TLS1_3_VERSION)
      : context_(boost::asio::ssl::context::tls_client), stream_(io_, context_) {
    SSL_set_security_level(stream_.native_handle(), 0);  // else OpenSSL would not try old versions
    SSL_set_min_proto_version(stream_.native_handle(), version);
    SSL_set_max_proto_version(stream_.native_handle(), version);
    stream_.next_layer().connect({boost::asio::ip::address_v4::loopback(), port});
    stream_.handshake(boost::asio::ssl::stream_base::client);
  }

  void send(std::string_view text) { boost::asio::write(stream_, boost::asio::buffer(text)); }
  ClientResponse response() {
    namespace http = boost::beast::http;
    http::response<http::string_body> message;
    http::read(stream_, buffer_, message);
    return {.status = static_cast<int>(message.result_int()),
            .body = message.body(),
            .fields = message.base(),
            .keep_alive = message.keep_alive()};
  }
  /// The error that ends reading: ssl end-of-file when the server said goodbye.
  boost::system::error_code end() {
    char byte;
    boost::system::error_code error;
    stream_.read_some(boost::asio::buffer(&byte, 1), error);
    return error;
  }
  void leave() { stream_.next_layer().close(); }
  /// The common name of the server's certificate.
  std::string peer() const {
    const auto handle = const_cast<TlsClient*>(this)->stream_.native_handle();
    const std::unique_ptr<X509, decltype(&X509_free)> certificate(SSL_get1_peer_certificate(handle), &X509_free);
    char name[64] = {};
    X509_NAME_get_text_by_NID(X509_get_subject_name(certificate.get()), NID_commonName, name, sizeof name);
    return name;
  }

 private:
  boost::asio::io_context io_;
  boost::asio::ssl::context context_;
  boost::asio::ssl::stream<boost::asio::ip::tcp::socket> stream_;
  boost::beast::flat_buffer buffer_;
};

}  // namespace echelon::testing
