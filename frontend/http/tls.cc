// A context is made whole or not at all, so that a reload never leaves a certificate beside another's key.
#include "frontend/http/tls.h"

#include <fmt/format.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "kernels/base/error.h"

namespace echelon {
namespace {

namespace ssl = boost::asio::ssl;

[[noreturn]] void fail(const std::string& message) { throw Error(Part::frontend, message); }

void check_private(const std::string& key) {
  struct stat status {};
  if (::stat(key.c_str(), &status) != 0) fail(fmt::format("--tls-key {}: {}", key, std::strerror(errno)));
  // A group may read it: certificates of a site often belong to one.
  if ((status.st_mode & 0007) != 0)
    fail(fmt::format("everybody may use --tls-key {} (mode {:04o}): chmod 600 {}", key, status.st_mode & 07777, key));
}

}  // namespace

std::shared_ptr<ssl::context> make_tls(const std::string& certificate, const std::string& key) {
  check_private(key);
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  // A renegotiation is work that a client could ask for without end; a session is resumed by tickets, without state
  // here.
  SSL_CTX_set_options(context->native_handle(), SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_session_cache_mode(context->native_handle(), SSL_SESS_CACHE_OFF);
  boost::system::error_code error;
  context->use_certificate_chain_file(certificate, error);
  if (error) fail(fmt::format("--tls-cert {}: {}; it takes certificates in PEM", certificate, error.message()));
  // Without this OpenSSL would ask for a password on the terminal.
  context->set_password_callback([](size_t, ssl::context::password_purpose) { return std::string(); }, error);
  context->use_private_key_file(key, ssl::context::pem, error);
  if (error)
    fail(fmt::format("--tls-key {}: {}; it takes the key of --tls-cert in PEM, without a password", key,
                     error.message()));
  if (SSL_CTX_check_private_key(context->native_handle()) != 1)
    fail(fmt::format("--tls-key {} is not the key of --tls-cert {}", key, certificate));
  return context;
}

TlsFiles::TlsFiles(std::string certificate, std::string key)
    : certificate_(std::move(certificate)), key_(std::move(key)) {
  if (certificate_.empty() != key_.empty())
    fail(certificate_.empty() ? "--tls-key needs --tls-cert" : "--tls-cert needs --tls-key");
  reload();
}

std::shared_ptr<ssl::context> TlsFiles::current() const {
  const std::lock_guard lock(mutex_);
  return context_;
}

void TlsFiles::reload() {
  if (certificate_.empty()) return;
  auto context = make_tls(certificate_, key_);
  const std::lock_guard lock(mutex_);
  context_ = std::move(context);
}

}  // namespace echelon
