#include "hago/model.h"

#include <elf.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/map.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/extra/json.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>
#include <unistd.h>
#ifdef __aarch64__
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <set>
#include <sstream>

#include "compressed.h"

namespace hago {
namespace {

namespace ffi = tvm::ffi;
namespace fs = std::filesystem;

constexpr size_t kAlignment = 64;  // tvm::runtime::kAllocAlignment
constexpr int kFormat = 3;         // hago/deploy/manifest.py: FORMAT
constexpr int kPooledAllocator = 2;
constexpr int kEqualCores = 1;  // tvm::runtime::threading::ThreadGroup::AffinityMode::kBig
constexpr long kRequestPermission = 0x1023, kTileData = 18;  // asm/prctl.h, Intel SDM vol. 1, 13.14

const std::map<std::string, DLDataType> kTypes = {
    {"float32", {kDLFloat, 32, 1}}, {"float64", {kDLFloat, 64, 1}}, {"float16", {kDLFloat, 16, 1}},
    {"int8", {kDLInt, 8, 1}},       {"int16", {kDLInt, 16, 1}},     {"int32", {kDLInt, 32, 1}},
    {"int64", {kDLInt, 64, 1}},     {"uint8", {kDLUInt, 8, 1}},     {"uint16", {kDLUInt, 16, 1}},
    {"uint32", {kDLUInt, 32, 1}},   {"uint64", {kDLUInt, 64, 1}},   {"bool", {kDLBool, 8, 1}},
};

DLDataType TypeOf(const TensorSpec& spec) {
  auto found = kTypes.find(spec.dtype);
  if (found == kTypes.end()) throw Error("tensor '" + spec.name + "': no element type '" + spec.dtype + "'");
  return found->second;
}

std::string Text(const TensorSpec& spec) {
  std::ostringstream out;
  out << "'" << spec.name << "' " << spec.dtype << "[";
  for (size_t i = 0; i < spec.shape.size(); ++i) out << (i ? ", " : "") << spec.shape[i];
  out << "]";
  return out.str();
}

ffi::json::Object ReadManifest(const fs::path& folder) {
  std::ifstream file(folder / "manifest.json");
  if (!file) throw Error(folder.string() + ": not an artifact, it has no manifest.json");
  std::stringstream text;
  text << file.rdbuf();
  ffi::String failure;
  ffi::Any value = ffi::json::Parse(ffi::String(text.str()), &failure);
  if (!failure.empty()) throw Error((folder / "manifest.json").string() + ": " + std::string(failure));
  return value.cast<ffi::json::Object>();
}

std::string ReadText(const ffi::json::Object& fields, const char* key) {
  return std::string(fields[ffi::String(key)].cast<ffi::String>());
}

std::vector<TensorSpec> ReadSpecs(const ffi::json::Object& manifest, const char* key) {
  std::vector<TensorSpec> specs;
  for (const ffi::Any& item : manifest[ffi::String(key)].cast<ffi::json::Array>()) {
    auto fields = item.cast<ffi::json::Object>();
    TensorSpec spec{ReadText(fields, "name"), {}, ReadText(fields, "dtype")};
    for (const ffi::Any& extent : fields[ffi::String("shape")].cast<ffi::json::Array>()) {
      spec.shape.push_back(extent.cast<int64_t>());
    }
    TypeOf(spec);
    specs.push_back(std::move(spec));
  }
  return specs;
}

#ifdef __aarch64__
// The kernel's answer, not /proc/cpuinfo: QEMU's user mode shows that of the computer it runs on.
std::set<std::string> CpuFeatures() {
  const std::map<std::string, bool> known = {
      {"asimd", getauxval(AT_HWCAP) & HWCAP_ASIMD},
      {"asimdhp", getauxval(AT_HWCAP) & HWCAP_ASIMDHP},
      {"asimddp", getauxval(AT_HWCAP) & HWCAP_ASIMDDP},
      {"sve", getauxval(AT_HWCAP) & HWCAP_SVE},
      {"i8mm", getauxval(AT_HWCAP2) & HWCAP2_I8MM},
      {"bf16", getauxval(AT_HWCAP2) & HWCAP2_BF16},
  };
  std::set<std::string> present;
  for (const auto& [name, is_present] : known) {
    if (is_present) present.insert(name);
  }
  return present;
}
#else
std::set<std::string> CpuFeatures() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string field, colon;
    words >> field >> colon;
    if (field != "flags" && field != "Features") continue;  // x86 and Arm spell it differently
    return {std::istream_iterator<std::string>(words), {}};
  }
  return {};
}
#endif

void CheckCpu(const ffi::json::Object& machine) {
  utsname system{};
  uname(&system);
  const std::string architecture = ReadText(machine, "architecture");
  if (architecture != system.machine) {
    throw Error("built for '" + ReadText(machine, "name") + "': code for " + architecture +
                ", this computer is " + system.machine);
  }
  const std::set<std::string> present = CpuFeatures();
  std::string missing;
  bool has_tiles = false;
  for (const ffi::Any& item : machine[ffi::String("features")].cast<ffi::json::Array>()) {
    std::string feature(item.cast<ffi::String>());
    has_tiles = has_tiles || feature == "amx_tile";
    if (!present.count(feature)) missing += " " + feature;
  }
  if (!missing.empty()) {
    throw Error("built for '" + ReadText(machine, "name") + "': this CPU lacks" + missing);
  }
#ifdef SYS_arch_prctl
  if (has_tiles && syscall(SYS_arch_prctl, kRequestPermission, kTileData) != 0) {
    throw Error("the operating system does not permit AMX tiles");
  }
#endif
}

// A shared library that was cut off would be mapped and crash at its first access.
void CheckComplete(const fs::path& library) {
  std::ifstream file(library, std::ios::binary);
  Elf64_Ehdr header{};
  bool is_read = static_cast<bool>(file.read(reinterpret_cast<char*>(&header), sizeof(header)));
  if (!is_read || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
    throw Error(library.string() + ": damaged, it is no shared library");
  }
  uint64_t end = header.e_shoff + uint64_t{header.e_shnum} * header.e_shentsize;
  if (fs::file_size(library) < end) throw Error(library.string() + ": damaged, it is cut off");
}

void SetThreads(int count) {
  if (count < 1) throw Error("at least one thread is needed");
  // TVM makes its pool once: later it can only use fewer.
  cpu_set_t usable;
  const bool is_known = sched_getaffinity(0, sizeof(usable), &usable) == 0;
  const int most = is_known ? std::max(count, CPU_COUNT(&usable)) : count;
  setenv("TVM_NUM_THREADS", std::to_string(most).c_str(), 1);
  // Without this the pool pins the calling thread to one core, and all that it starts later.
  setenv("TVM_BIND_THREADS", "0", 0);
  ffi::Function::GetGlobalRequired("runtime.config_threadpool")(kEqualCores, count);
}

// A view of a tensor that keeps its memory alive.
struct SharedMemory {
  std::shared_ptr<void> memory;
  void AllocData(DLTensor* tensor) { tensor->data = memory.get(); }
  void FreeData(DLTensor*) { memory.reset(); }
};

}  // namespace

size_t TensorSpec::elements() const {
  size_t count = 1;
  for (int64_t extent : shape) {
    if (extent < 0 || (extent > 0 && count > std::numeric_limits<size_t>::max() / 16 / extent)) {
      throw Error("tensor " + Text(*this) + " has no such size");
    }
    count *= extent;
  }
  return count;
}

size_t TensorSpec::bytes() const { return elements() * TypeOf(*this).bits / 8; }

Tensor::Tensor(TensorSpec spec) : spec_(std::move(spec)) {
  size_t size = (spec_.bytes() + kAlignment - 1) / kAlignment * kAlignment + kAlignment;
  void* memory = std::aligned_alloc(kAlignment, size);
  if (memory == nullptr) throw Error("no memory for tensor " + Text(spec_));
  std::memset(memory, 0, size);
  data_ = std::shared_ptr<void>(memory, std::free);
}

void Tensor::CheckElement(size_t size) const {
  if (size * 8 != TypeOf(spec_).bits) throw Error("tensor " + Text(spec_) + " has other elements");
}

struct Model::State {
  // The library outlives the machine that runs it.
  ffi::Module library;
  ffi::Module machine;
  ffi::Function main;
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
};

Model::Model(std::unique_ptr<State> state) : state_(std::move(state)) {}
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;
Model::~Model() = default;

const std::vector<TensorSpec>& Model::inputs() const { return state_->inputs; }
const std::vector<TensorSpec>& Model::outputs() const { return state_->outputs; }

Model Model::Load(const fs::path& folder, int threads) {
  try {
    ffi::json::Object manifest = ReadManifest(folder);
    if (manifest[ffi::String("format")].cast<int>() != kFormat) {
      throw Error(folder.string() + ": another format than this hago reads");
    }
    std::vector<TensorSpec> inputs = ReadSpecs(manifest, "inputs");
    std::vector<TensorSpec> outputs = ReadSpecs(manifest, "outputs");
    CheckCpu(manifest[ffi::String("machine")].cast<ffi::json::Object>());
    Library stored(folder);
    CheckComplete(stored.path());
    SetThreads(threads);
    ffi::Module library = ffi::Module::LoadFromFile(stored.path().string());
    ffi::Module machine =
        library->GetFunction("vm_load_executable").value()().cast<ffi::Module>();
    machine->GetFunction("vm_initialization").value()(
        static_cast<int>(kDLCPU), 0, kPooledAllocator, static_cast<int>(kDLCPU), 0,
        kPooledAllocator);
    ffi::Function main = machine->GetFunction("main").value();
    return Model(std::unique_ptr<State>(
        new State{library, machine, main, std::move(inputs), std::move(outputs)}));
  } catch (const ffi::Error& error) {
    throw Error(folder.string() + ": damaged: " + error.what());
  } catch (const fs::filesystem_error& error) {
    throw Error(folder.string() + ": " + error.what());
  } catch (const std::bad_optional_access&) {
    throw Error(folder.string() + ": model.so is no library of hago");
  }
}

std::vector<Tensor> Model::Run(const std::vector<Tensor>& inputs) {
  if (inputs.size() != state_->inputs.size()) {
    throw Error("the model takes " + std::to_string(state_->inputs.size()) + " inputs");
  }
  std::vector<ffi::AnyView> arguments(inputs.size());
  std::vector<ffi::Tensor> views;
  views.reserve(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorSpec &given = inputs[i].spec(), &wanted = state_->inputs[i];
    if (given.shape != wanted.shape || given.dtype != wanted.dtype) {
      throw Error("input " + Text(given) + " was given for " + Text(wanted));
    }
    std::shared_ptr<void> memory(const_cast<void*>(inputs[i].bytes()), [](void*) {});
    views.push_back(ffi::Tensor::FromNDAlloc(SharedMemory{memory}, ffi::ShapeView(given.shape.data(), given.shape.size()),
                                             TypeOf(given), DLDevice{kDLCPU, 0}));
    arguments[i] = views.back();
  }
  try {
    ffi::Any result;
    state_->main.CallPacked(arguments.data(), static_cast<int>(arguments.size()), &result);
    ffi::Array<ffi::Tensor> results =
        result.as<ffi::Tensor>() ? ffi::Array<ffi::Tensor>{result.cast<ffi::Tensor>()}
                                 : result.cast<ffi::Array<ffi::Tensor>>();
    std::vector<Tensor> outputs;
    for (size_t i = 0; i < state_->outputs.size(); ++i) {
      Tensor output(state_->outputs[i]);
      std::memcpy(output.bytes(), results[i].data_ptr(), output.spec().bytes());
      outputs.push_back(std::move(output));
    }
    return outputs;
  } catch (const ffi::Error& error) {
    throw Error(std::string("the model failed: ") + error.what());
  }
}

}  // namespace hago
