# bash completion for rpcping

_rpcping() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=
    local options="--user --password-file --netrc-file --auth --cacert --insecure --path --proxy
        --timeout --count --interval --quiet --nagios --verbose --help --version"

    COMPREPLY=()
    case $prev in
        -a|--auth)
            words="basic ntlm any negotiate" ;;
        -p|--password-file|--netrc-file|--cacert)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return ;;
        -u|--user|--path|--proxy|-t|--timeout|-c|--count|-i|--interval)
            return ;;
        *)
            case $cur in
                -*) words=$options ;;
                h*) compopt -o nospace; words="https:// http://" ;;
            esac ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
} &&
complete -F _rpcping rpcping
