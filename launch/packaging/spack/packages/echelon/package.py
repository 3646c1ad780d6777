# Of the working copy that this file lies in:
#   spack repo add launch/packaging/spack && spack dev-build -d . echelon@main
from spack.package import *


class Echelon(CMakePackage):
    """Serves large language models from MPI ranks, with an OpenAI-compatible HTTP server on rank 0."""

    license("Apache-2.0")
    version("main")  # no address: spack dev-build names the source

    variant("cuda", default=False, description="Compile the CUDA sources")

    generator("ninja")
    depends_on("c", type="build")
    depends_on("cxx", type="build")
    depends_on("cmake@3.25:", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("openmpi@4.1:5")
    depends_on("boost@1.81:1.86 +json +url")
    depends_on("spdlog@1.10: +fmt_external")
    depends_on("fmt@9:10")
    depends_on("cli11@2:")
    depends_on("yaml-cpp@0.7:")
    depends_on("pcre2")
    depends_on("openssl@3:")
    depends_on("sqlite@3:")
    depends_on("cuda", when="+cuda")

    conflicts("%gcc@:11", msg="C++20 as g++ 12 has it")
    conflicts("target=aarch64:", msg="the kernels are for x86-64")

    def cmake_args(self):
        return [
            self.define("ECHELON_TESTS", False),
            self.define("ECHELON_BENCHMARKS", False),
            self.define("ECHELON_CUDA", "ON" if self.spec.satisfies("+cuda") else "OFF"),
        ]
