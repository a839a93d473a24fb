// hago-run: an artifact without Python.
//
//   hago-run DIR --input image=x.npy --output scores=y.npy
//   hago-run DIR --bench 2
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>

#include "hago/model.h"
#include "npy.h"

namespace {

constexpr char kUsage[] =
    "usage: hago-run DIR [--threads N] [--input NAME=FILE.npy]... [--output NAME=FILE.npy]...\n"
    "       hago-run DIR [--threads N] --bench SECONDS\n";

struct Arguments {
  std::string folder;
  int threads = 1;
  double bench_seconds = 0;
  std::map<std::string, std::string> inputs, outputs;
};

// The number that is all of `text`. Throws hago::Error.
double Number(const std::string& option, const std::string& text) {
  size_t used = 0;
  double value = 0;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  if (text.empty() || used != text.size() || !(value > 0)) {
    throw hago::Error(option + ": '" + text + "' is no positive number");
  }
  return value;
}

void AddFile(std::map<std::string, std::string>& files, const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos) throw hago::Error("'" + text + "' is not of the form NAME=FILE.npy");
  files[text.substr(0, equals)] = text.substr(equals + 1);
}

Arguments Parse(int count, char** values) {
  Arguments arguments;
  for (int i = 1; i < count; ++i) {
    const std::string option = values[i];
    if (option.rfind("--", 0) != 0) {
      if (!arguments.folder.empty()) throw hago::Error("more than one folder was given");
      arguments.folder = option;
      continue;
    }
    if (i + 1 == count) throw hago::Error(option + " needs a value");
    const std::string value = values[++i];
    if (option == "--threads") arguments.threads = static_cast<int>(Number(option, value));
    else if (option == "--bench") arguments.bench_seconds = Number(option, value);
    else if (option == "--input") AddFile(arguments.inputs, value);
    else if (option == "--output") AddFile(arguments.outputs, value);
    else throw hago::Error("no option '" + option + "'");
  }
  if (arguments.folder.empty()) throw hago::Error("no artifact was given");
  return arguments;
}

// Takes `name` out of `files`; whatever is left in the end was never asked for.
std::string Take(std::map<std::string, std::string>& files, const std::string& name) {
  auto found = files.find(name);
  if (found == files.end()) return "";
  std::string file = found->second;
  files.erase(found);
  return file;
}

void Bench(hago::Model& model, double seconds) {
  std::vector<hago::Tensor> inputs;
  for (const hago::TensorSpec& spec : model.inputs()) inputs.emplace_back(spec);
  using Clock = std::chrono::steady_clock;
  std::vector<double> times;
  const auto run_until = [&](Clock::time_point end) {
    times.clear();
    while (times.size() < 10 || Clock::now() < end) {
      const auto start = Clock::now();
      model.Run(inputs);
      times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
    }
  };
  run_until(Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds / 10)));
  run_until(Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds)));
  std::sort(times.begin(), times.end());
  std::printf("{\"median_ms\": %.4f, \"min_ms\": %.4f, \"runs\": %zu}\n", times[times.size() / 2],
              times.front(), times.size());
}

void Run(hago::Model& model, Arguments arguments) {
  std::vector<hago::Tensor> inputs;
  for (const hago::TensorSpec& spec : model.inputs()) {
    const std::string file = Take(arguments.inputs, spec.name);
    if (file.empty()) throw hago::Error("no --input for '" + spec.name + "'");
    inputs.push_back(hago::ReadNpy(file, spec.name));
  }
  if (!arguments.inputs.empty()) throw hago::Error("the model has no input '" + arguments.inputs.begin()->first + "'");
  std::vector<std::string> files;
  for (const hago::TensorSpec& spec : model.outputs()) files.push_back(Take(arguments.outputs, spec.name));
  if (!arguments.outputs.empty()) throw hago::Error("the model has no output '" + arguments.outputs.begin()->first + "'");
  const std::vector<hago::Tensor> results = model.Run(inputs);
  for (size_t i = 0; i < results.size(); ++i) {
    if (!files[i].empty()) hago::WriteNpy(files[i], results[i]);
  }
}

}  // namespace

int main(int count, char** values) {
  try {
    if (count < 2 || !std::strcmp(values[1], "--help")) {
      std::fputs(kUsage, count < 2 ? stderr : stdout);
      return count < 2 ? 2 : 0;
    }
    const Arguments arguments = Parse(count, values);
    hago::Model model = hago::Model::Load(arguments.folder, arguments.threads);
    if (arguments.bench_seconds > 0) Bench(model, arguments.bench_seconds);
    else Run(model, arguments);
    return 0;
  } catch (const hago::Error& error) {
    std::fprintf(stderr, "hago-run: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "hago-run has a defect: %s\n", error.what());
    return 1;
  }
}
