-- Lmod: cmake --install build/release --prefix /opt/echelon/0.1.0, this file as MODULEPATH/echelon/0.1.0.lua, then
--   module load echelon && echelon doctor
local root = os.getenv("ECHELON_ROOT") or pathJoin("/opt/echelon", myModuleVersion())

help([[
Serves large language models from MPI ranks.
  salloc --ntasks=4 echelon-run -- serve MODEL -pp 4
  sbatch --ntasks=4 $ECHELON_HOME/launch/slurm/echelon.sbatch MODEL -pp 4
]])
whatis("Name: echelon")
whatis("Version: " .. myModuleVersion())
whatis("Description: LLM server that mpirun or srun starts")

depends_on("openmpi")
prepend_path("PATH", pathJoin(root, "bin"))
setenv("ECHELON_HOME", pathJoin(root, "libexec/echelon"))
setenv("ECHELON_BINARY", pathJoin(root, "bin/echelon"))
