# bash completion for madang
_madang()
{
    local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} list
    local connection="--header --token --subprotocol --origin --ca --insecure --proxy --no-proxy --compress --timeout --auth --path --quiet --help"
    if [ "$COMP_CWORD" -eq 1 ]; then
        list="serve cat pub sub passwd bench --help --version"
    else
        case $command in
        serve) list=$(madang serve --help-all 2>/dev/null | grep -o '^--[a-z0-9-]*'; echo --config --state --help) ;;
        cat) list="--binary --reconnect --count --resume --wait --event --ack --answer $connection" ;;
        pub) list="--room --event --json $connection" ;;
        sub) list="--room --json --count --history --resume --once $connection" ;;
        bench) list="echo fanout idle connect --conns --size --in-flight --burst --messages --seconds --publish-url --hello --binary --pid --json $connection" ;;
        esac
        case $word in
        -* | e* | f* | i* | c*) ;;
        *) [ "$command" = bench ] || { COMPREPLY=($(compgen -f -- "$word")); return; } ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$list" -- "$word"))
}
complete -F _madang madang
