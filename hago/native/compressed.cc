#include "compressed.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "hago/model.h"
#ifdef HAGO_ZLIB
#include <zlib.h>
#endif

namespace hago {
namespace fs = std::filesystem;

namespace {

fs::path NewFolder() {
  std::string name = (fs::temp_directory_path() / "hago-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw Error(name + ": " + std::strerror(errno));
  return name;
}

#ifdef HAGO_ZLIB
void Inflate(const fs::path& stored, const fs::path& target) {
  std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(stored.c_str(), "rb"), gzclose);
  if (!file) throw Error(stored.string() + ": cannot be read");
  std::ofstream out(target, std::ios::binary);
  std::vector<char> block(1 << 20);
  int count;
  while ((count = gzread(file.get(), block.data(), static_cast<unsigned>(block.size()))) > 0) {
    out.write(block.data(), count);
  }
  int status = Z_OK;
  std::string fact = gzerror(file.get(), &status);
  // A file that is cut off ends without an error from gzread, but closing it tells.
  if (count < 0 || gzclose(file.release()) != Z_OK) {
    throw Error(stored.string() + ": damaged, " + (status == Z_OK ? "it is cut off" : fact));
  }
  if (!out.flush()) throw Error(target.string() + ": cannot be written");
}
#else
void Inflate(const fs::path& stored, const fs::path&) {
  throw Error(stored.string() + ": this program was built without zlib; compile the model without "
              "--compress, or build with zlib's headers");
}
#endif

}  // namespace

Library::Library(const fs::path& folder) : path_(fs::absolute(folder / "model.so")) {
  fs::path stored = folder / "model.so.gz";
  if (!fs::exists(stored)) return;
  scratch_ = NewFolder();
  path_ = scratch_ / "model.so";
  try {
    Inflate(stored, path_);
  } catch (...) {
    fs::remove_all(scratch_);
    throw;
  }
}

Library::~Library() {
  std::error_code ignored;
  if (!scratch_.empty()) fs::remove_all(scratch_, ignored);
}

}  // namespace hago
