// Forms: the content type up to the first line's end, then the body.
#include "frontend/batch/multipart.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {
namespace {

void run(std::string_view input) {
  Pieces pieces(input);
  const std::string_view type = pieces.until("\n"), body = pieces.rest();
  const auto parts = parse_form(type, body);
  if (parts.has_error()) {
    expect(parts.error().http_status == 400 && !parts.error().message.empty(), "a form is refused without words");
    return;
  }
  expect(!parts->empty() && parts->size() <= kMaxFormParts, "a form of no parts, or of too many");
  for (const FormPart& part : *parts) {
    expect(!part.name.empty(), "a part without a name");
    expect(part.content.data() >= body.data() && part.content.data() + part.content.size() <= body.data() + body.size(),
           "a part that is not in the body");
  }
}

std::vector<std::string> seeds() {
  return {
      "multipart/form-data; boundary=XX\n--XX\r\nContent-Disposition: form-data; "
      "name=\"purpose\"\r\n\r\nbatch\r\n--XX\r\n"
      "Content-Disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\".jsonl\"\r\nContent-Type: "
      "application/jsonl\r\n\r\n{}\r\n--X\n{}\n\r\n--XX--\r\n",
      "Multipart/Form-Data;boundary=\"X\"\n--X\r\ncontent-disposition:form-data;name=a\r\n\r\n\r\n--X--"};
}

const Target target("multipart", run, seeds,
                    {"multipart/form-data", "; boundary=", "--XX", "\r\n--XX\r\n", "\r\n--XX--", "\r\n\r\n",
                     "Content-Disposition: form-data", "; name=\"", "; filename=\"", "filename*=UTF-8''",
                     "Content-Transfer-Encoding: ", "Content-Type: ", "\\\"", "\"", "\r", "\n"});

}  // namespace
}  // namespace echelon::fuzzing
