# bash completion for rpcping

_rpcping() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=
    local options="--user --password-file --netrc-file --auth --cacert --insecure --path --proxy
        --interface --all --timeout --count --interval --warning --critical --quiet --nagios --json
        --verbose --help --version"

    COMPREPLY=()
    case $prev in
        -a|--auth)
            words="basic ntlm any negotiate" ;;
        -I|--interface)
            words="epm mgmt emsmdb async-emsmdb rfr nspi tsgu samr lsarpc netlogon drsuapi" ;;
        -p|--password-file|--netrc-file|--cacert|--all)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return ;;
        -u|--user|--path|--proxy|-t|--timeout|-n|--count|-i|--interval|\
        -w|--warning|-c|--critical)
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
