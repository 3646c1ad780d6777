// The YAML file of --config, for every option of `serve`.
#include "kernels/base/error.h"
#include "launch/options.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {
namespace {

void run(std::string_view input) {
  static const MemoryFile memory;
  memory.write(input);
  try {
    const ServeInvocation invocation = parse_serve({"model.gguf", "--config", memory.path()}, {});
    print_config("serve", invocation);
  } catch (const Error&) {
  }
}

std::vector<std::string> seeds() {
  return {"port: 8000\nhost: 0.0.0.0\nmax-model-len: 4096\ntensor_parallel_size: 2\napi-key: [a, b]\n",
          "# c\nlog-level: debug\ncompute: int8\nenable-prefix-caching: false\ntenant-weight: ['a=2', "
          "\"b=3\"]\nkv-cache-memory: 2GiB\n",
          "seed: 7\nlisten:\n  - unix:/tmp/x\n  - 127.0.0.1:80\npipeline-layer-partition: 3,4\n", "&a {port: *a}",
          "--- !!map {? port : 1}"};
}

const Target target("option_file", run, seeds,
                    {"port: ",
                     "model: ",
                     "host: ",
                     "config: ",
                     "api-key: ",
                     "seed: ",
                     "threads: ",
                     "compute: ",
                     "balance: ",
                     "batching: ",
                     "listen: ",
                     "max-model-len: ",
                     "tenant-weight: ",
                     "cors-origin: ",
                     "kv-cache-memory: ",
                     "startup-timeout: ",
                     "log-level: ",
                     "true",
                     "null",
                     "~",
                     "1e9",
                     "GiB",
                     "- ",
                     "&a",
                     "*a",
                     "!!int ",
                     "<<: ",
                     "|\n",
                     ">-\n",
                     "---\n",
                     "...\n",
                     "{",
                     "}",
                     "[",
                     "]",
                     "? ",
                     "\\x41",
                     "\t",
                     "%YAML 1.2\n"});

}  // namespace
}  // namespace echelon::fuzzing
