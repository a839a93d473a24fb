#pragma once

#include <filesystem>

namespace hago {

// The library of an artifact as a file that can be loaded: model.so itself, or what model.so.gz
// holds, in a folder that goes with this object. A loaded library stays mapped without its file.
class Library {
 public:
  // Throws Error where model.so.gz is damaged, or this program was built without zlib.
  explicit Library(const std::filesystem::path& folder);
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library();

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_, scratch_;
};

}  // namespace hago
