#!/usr/bin/env bash
# Make the data, train the model, and publish the run when the configuration says so.
#
#   scripts/run_training.sh                          with ./config.yaml, else with the example's
#   scripts/run_training.sh --config FILE            with another project file
#   scripts/run_training.sh --skip-hf-sync           publish nothing
#   scripts/run_training.sh --force-hf-sync          publish even if the configuration says not to
#   scripts/run_training.sh --experiment-name NAME   instead of training.experiment_name
#   scripts/run_training.sh --version-tag TAG        instead of the next version
#   scripts/run_training.sh -- OPTION...             further options of train_mcp_model.py
#
# It works in the working directory, whichever that is. An upload that fails does not make the training fail.
set -euo pipefail

usage() { sed -n '2,/^set /s/^# \{0,1\}//p' "$script"; }
refuse() {
    printf "run_training.sh: %s. See 'run_training.sh --help'.\n" "$*" >&2
    exit 2
}

script=${BASH_SOURCE[0]}
while [ -L "$script" ]; do
    link=$(readlink "$script")
    case "$link" in /*) script=$link ;; *) script=$(dirname "$script")/$link ;; esac
done
scripts=$(cd "$(dirname "$script")" && pwd)
script=$scripts/$(basename "$script")

config=()
options=()
while [ $# -gt 0 ]; do
    case "$1" in
        -h | --help) usage; exit 0 ;;
        -c | --config) [ $# -gt 1 ] || refuse "$1: which file?"; config=(--config "$2"); shift 2 ;;
        --config=*) config=(--config "${1#*=}"); shift ;;
        --experiment-name | --version-tag) [ $# -gt 1 ] || refuse "$1: the value is missing"; options+=("$1" "$2"); shift 2 ;;
        --experiment-name=* | --version-tag=* | --skip-hf-sync | --force-hf-sync) options+=("$1"); shift ;;
        --) shift; options+=("$@"); break ;;
        *) refuse "unknown option '$1'" ;;
    esac
done

# The project's own Python where it was set up, else the one of the shell.
python=$scripts/../.venv/bin/python
[ -x "$python" ] || python=$(command -v python3) || refuse "there is no Python here; run scripts/setup demo"
"$python" -c 'import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ("hfmirror", "numpy", "safetensors"))))' || {
    echo "run_training.sh: $python has no hfmirror, numpy or safetensors. Run $scripts/setup demo." >&2
    exit 1
}

# Empty arrays are unset variables to the bash of macOS.
"$python" "$scripts/generate_dataset.py" ${config[@]+"${config[@]}"}
# In place of the shell, so that who stops this stops the training.
exec "$python" "$scripts/train_mcp_model.py" ${config[@]+"${config[@]}"} ${options[@]+"${options[@]}"}
