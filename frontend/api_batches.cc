// The endpoints of files and batches. What waits for the disk runs on the batches' thread. Nobody sees what another
// key's owner has: it is a 404.
#include <fmt/format.h>

#include <boost/json/serialize.hpp>
#include <fstream>
#include <utility>

#include "frontend/api.h"
#include "frontend/batch/batch_bodies.h"
#include "frontend/batch/service.h"
#include "frontend/http/offload.h"
#include "frontend/openai/ids.h"
#include "frontend/refusals.h"

namespace echelon {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;

constexpr size_t kPieceBytes = 256 << 10;  ///< of a file, read and sent at once

RequestError not_found(std::string_view kind, std::string_view id) {
  return http_refusal(404, fmt::format("there is no {} {}", kind, shortened(id)), "not_found");
}

/// The bytes of a file, a piece at a time. A file that is removed meanwhile is sent to its end.
class FileSource final : public BodySource {
 public:
  explicit FileSource(const std::filesystem::path& path) : stream_(path, std::ios::binary) {}
  bool is_open() const { return stream_.is_open(); }
  asio::awaitable<std::string> next() override {
    std::string piece(kPieceBytes, '\0');
    stream_.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    piece.resize(static_cast<size_t>(stream_.gcount()));
    co_return piece;
  }
  void on_overflow(std::function<void()>) override {}  // a piece is read when the one before is sent

 private:
  std::ifstream stream_;
};

/// The number of the item that `after` names; 0 when none is named.
template <typename Find>
RequestResult<int64_t> number_of(const std::string& after, Find find) {
  using boost::system::in_place_value;  // an integer would do for the error's status, too
  if (after.empty()) return {in_place_value, 0};
  const auto found = find(after);
  if (!found) return bad_request("after", fmt::format("there is no {}", shortened(after)));
  return {in_place_value, found->number};
}

}  // namespace

size_t Api::body_limit(const HttpRequest& header) const {
  const bool is_upload = header.method == "POST" && header.path == "/v1/files";
  const bool may_upload = is_upload && batches_ != nullptr && owner_of(header).has_value();
  return may_upload ? std::max(options_.file_bytes, options_.body_bytes) : options_.body_bytes;
}

/// `work(store)` on the batches' thread, as a body.
template <typename Work>
asio::awaitable<HttpResponse> Api::with_batches(Work work) {
  if (batches_ == nullptr)
    co_return refusal(http_refusal(404, "this server keeps no files and no batches; it was started without --batch-dir",
                                   "batches_disabled"));
  auto on_thread = [&]() -> RequestResult<json::object> { return work(batches_->store()); };
  const auto body = co_await offload(batches_->thread(), on_thread);
  if (body.has_error()) co_return refusal(body.error());
  HttpResponse response;
  response.body = json::serialize(*body);
  co_return response;
}

asio::awaitable<HttpResponse> Api::create_file(HttpRequest request) {
  auto work = [&](BatchStore& store) -> RequestResult<json::object> {
    const auto upload = parse_upload(request.content_type, request.body);
    if (upload.has_error()) return upload.error();
    const bool is_full = store.num_files() >= kMaxStoredFiles ||
                         store.used_bytes() + static_cast<int64_t>(upload->content.size()) > options_.batch_disk_bytes;
    if (is_full)
      return http_refusal(413,
                          fmt::format("the server keeps at most {} files of {} bytes together; delete some",
                                      kMaxStoredFiles, options_.batch_disk_bytes),
                          "storage_full");
    const StoredFile file{.id = random_id("file-"),
                          .tenant = request.tenant,
                          .name = upload->file_name,
                          .purpose = "batch",
                          .created_unix_s = unix_seconds()};
    return file_body(store.add_file(file, upload->content));
  };
  co_return co_await with_batches(work);
}

asio::awaitable<HttpResponse> Api::list_files(HttpRequest request) {
  auto work = [&](BatchStore& store) -> RequestResult<json::object> {
    const auto query = parse_files_query(request.query);
    if (query.has_error()) return query.error();
    const auto after =
        number_of(query->after, [&](const std::string& id) { return store.find_file(id, request.tenant); });
    if (after.has_error()) return after.error();
    const auto page = store.list_files(request.tenant, query->purpose, *after, query->limit, query->oldest_first);
    json::array data;
    for (const StoredFile& file : page.items) data.push_back(file_body(file));
    return page_body(std::move(data), page.has_more);
  };
  co_return co_await with_batches(work);
}

asio::awaitable<HttpResponse> Api::one_file(HttpRequest request) {
  auto work = [&](BatchStore& store) -> RequestResult<json::object> {
    const auto file = store.find_file(request.argument, request.tenant);
    if (!file) return not_found("file", request.argument);
    return file_body(*file);
  };
  co_return co_await with_batches(work);
}

asio::awaitable<HttpResponse> Api::file_content(HttpRequest request) {
  std::unique_ptr<FileSource> source;
  auto work = [&](BatchStore& store) -> RequestResult<json::object> {
    const auto file = store.find_file(request.argument, request.tenant);
    if (file) source = std::make_unique<FileSource>(store.path_of(file->id));
    if (!file || !source->is_open()) return not_found("file", request.argument);
    return json::object();
  };
  HttpResponse response = co_await with_batches(work);
  if (response.refused) co_return response;
  response.content_type = "application/octet-stream";
  response.body.clear();
  if (request.method != "HEAD") response.source = std::move(source);
  co_return response;
}

asio::awaitable<HttpResponse> Api::delete_file(HttpRequest request) {
  auto work = [&](BatchStore& store) -> RequestResult<json::object> {
    const auto file = store.find_file(request.argument, request.tenant);
    if (!file) return not_found("file", request.argument);
    if (store.is_input_of_open_batch(file->id))
      return http_refusal(409, "the file is the input of a batch that has not ended; cancel it first", "file_in_use");
    store.remove_file(*file);
    return deleted_file_body(*file);
  };
  co_return co_await with_batches(work);
}

asio::awaitable<HttpResponse> Api::create_batch(HttpRequest request) {
  auto work = [&](BatchStore& store) -> RequestResult<json::object> {
    auto batch = parse_batch_request(request.body);
    if (batch.has_error()) return batch.error();
    const auto input = store.find_file(batch->input_file, request.tenant);
    if (!input || input->purpose != "batch")
      return bad_request("input_file_id", "input_file_id names no file that was uploaded with purpose=batch");
    batch->id = random_id("batch_");
    batch->tenant = request.tenant;
    batch = batches_->create(std::move(*batch));
    if (batch.has_error()) return batch.error();
    return batch_body(*batch);
  };
  co_return co_await with_batches(work);
}

asio::awaitable<HttpResponse> Api::list_batches(HttpRequest request) {
  auto work = [&](BatchStore& store) -> RequestResult<json::object> {
    const auto query = parse_batches_query(request.query);
    if (query.has_error()) return query.error();
    const auto after =
        number_of(query->after, [&](const std::string& id) { return store.find_batch(id, request.tenant); });
    if (after.has_error()) return after.error();
    const auto page = store.list_batches(request.tenant, *after, query->limit);
    json::array data;
    for (const Batch& batch : page.items) data.push_back(batch_body(batch));
    return page_body(std::move(data), page.has_more);
  };
  co_return co_await with_batches(work);
}

asio::awaitable<HttpResponse> Api::one_batch(HttpRequest request) {
  auto work = [&](BatchStore& store) -> RequestResult<json::object> {
    const auto batch = store.find_batch(request.argument, request.tenant);
    if (!batch) return not_found("batch", request.argument);
    return batch_body(*batch);
  };
  co_return co_await with_batches(work);
}

asio::awaitable<HttpResponse> Api::cancel_batch(HttpRequest request) {
  auto work = [&](BatchStore& store) -> RequestResult<json::object> {
    auto batch = store.find_batch(request.argument, request.tenant);
    if (!batch) return not_found("batch", request.argument);
    const auto cancelled = batches_->cancel(std::move(*batch));
    if (cancelled.has_error()) return cancelled.error();
    return batch_body(*cancelled);
  };
  co_return co_await with_batches(work);
}

}  // namespace echelon
