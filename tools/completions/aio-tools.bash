# Completions of aio-probe, aio-copy and aio-bench for bash.
_aio_tools() {
    local current=$2 previous=$3 options
    COMPREPLY=()
    case $1 in
    *aio-probe) options='--dir --json --help --version' ;;
    *aio-copy) options='--verify --depth --block --help --version' ;;
    *aio-bench) options='--write --block --size --depth --seconds --json --help --version' ;;
    esac
    case $previous in
    --dir)
        mapfile -t COMPREPLY < <(compgen -d -- "$current")
        return
        ;;
    --block | --size)
        mapfile -t COMPREPLY < <(compgen -W '4KiB 64KiB 1MiB 256MiB' -- "$current")
        return
        ;;
    --depth | --seconds) return ;;
    esac
    case $current in
    -*) mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current") ;;
    *) mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    esac
}
complete -o filenames -F _aio_tools aio-probe aio-copy aio-bench
