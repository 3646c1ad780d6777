// The certificate of a server, as new connections get it.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <mutex>
#include <string>

namespace echelon {

/// TLS 1.2 and 1.3. `certificate`: a PEM file, the server's own first, then those that lead to a root; `key`: its PEM
/// file, without a password, for its owner alone. Throws Error(Part::frontend) that names the option and the file.
std::shared_ptr<boost::asio::ssl::context> make_tls(const std::string& certificate, const std::string& key);

/// Any thread.
class TlsFiles {
 public:
  /// Both empty: no TLS. Throws as make_tls(), and when one is given without the other.
  TlsFiles(std::string certificate, std::string key);

  /// Null: no TLS.
  std::shared_ptr<boost::asio::ssl::context> current() const;
  /// Reads the files again. When that throws, new connections still get what was read before.
  void reload();

 private:
  const std::string certificate_, key_;
  mutable std::mutex mutex_;  ///< guards context_
  std::shared_ptr<boost::asio::ssl::context> context_;
};

}  // namespace echelon
