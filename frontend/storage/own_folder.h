// A folder that is one process's own: nobody else may read what is in it, and no second server may use it.
#pragma once

#include <filesystem>
#include <string_view>

namespace echelon {

/// Made if it is not there. Throws Error(Part::frontend), which names `option`, also when another process has it.
/// Released with the process, however that ends.
class OwnFolder {
 public:
  OwnFolder(std::filesystem::path path, std::string_view option);
  ~OwnFolder();
  OwnFolder(const OwnFolder&) = delete;
  OwnFolder& operator=(const OwnFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  const std::filesystem::path path_;
  int lock_ = -1;
};

/// With mode 0700, and what it stands in. Throws likewise.
void make_own_folder(const std::filesystem::path& path, std::string_view option);

}  // namespace echelon
