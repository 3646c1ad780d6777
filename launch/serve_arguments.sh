# For launch/run and launch/quickstart: what the arguments of serve, in the array `serve`, say.

# option_of_serve NAME   The last value of --NAME, or of its ECHELON_ variable; empty when neither is given.
option_of_serve() {
  local name=$1 value i
  value=$(printenv "ECHELON_$(tr 'a-z-' 'A-Z_' <<<"$name")" || true)
  for ((i = 0; i < ${#serve[@]}; ++i)); do
    case ${serve[i]} in "--$name") value=${serve[i + 1]:-} ;; "--$name="*) value=${serve[i]#*=} ;; esac
  done
  echo "$value"
}
