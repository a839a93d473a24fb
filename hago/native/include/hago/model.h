// Artifacts of hago in C++.
//
//   hago::Model model = hago::Model::Load("artifact");
//   hago::Tensor image(model.inputs()[0]);
//   std::copy(pixels.begin(), pixels.end(), image.data<float>());
//   hago::Tensor scores = model.Run({image})[0];
#ifndef HAGO_MODEL_H_
#define HAGO_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace hago {

// What is wrong with an artifact, an input, or this computer; nothing was left half done.
class Error : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Name, shape and element type (as numpy spells it: "float32", "int64") of an input or output.
struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;
  std::string dtype;

  size_t elements() const;
  size_t bytes() const;
};

// A dense row-major tensor that owns its memory, aligned as kernels want it.
class Tensor {
 public:
  // Zeros. Throws Error for an element type that hago does not know.
  explicit Tensor(TensorSpec spec);

  const TensorSpec& spec() const { return spec_; }

  // The elements. Throws Error if they are not of the size of T.
  template <typename T>
  T* data() {
    CheckElement(sizeof(T));
    return static_cast<T*>(data_.get());
  }
  template <typename T>
  const T* data() const {
    CheckElement(sizeof(T));
    return static_cast<const T*>(data_.get());
  }
  void* bytes() { return data_.get(); }
  const void* bytes() const { return data_.get(); }

 private:
  void CheckElement(size_t size) const;

  TensorSpec spec_;
  std::shared_ptr<void> data_;  // shared, so that a tensor is cheap to pass on
};

// A loaded artifact. Moves, does not copy; calls from several threads must take turns.
class Model {
 public:
  // The artifact in `folder`, whose kernels use `threads` threads. Throws Error if it is no
  // artifact, is damaged, or was built for a CPU with features that this one lacks.
  static Model Load(const std::filesystem::path& folder, int threads = 1);

  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;
  ~Model();

  const std::vector<TensorSpec>& inputs() const;
  const std::vector<TensorSpec>& outputs() const;

  // The outputs for `inputs`, both in the order of the specs above. Throws Error for a wrong
  // number, shape or element type.
  std::vector<Tensor> Run(const std::vector<Tensor>& inputs);

 private:
  struct State;
  explicit Model(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace hago

#endif  // HAGO_MODEL_H_
