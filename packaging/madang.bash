# bash completion for madang
_madang()
{
    local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} list=
    local connection="--header --token --subprotocol --origin --ca --insecure --proxy --no-proxy --compress --timeout --auth --path --quiet --help"
    local schemes="ws:// wss:// tcp:// tls:// udp:// http:// https:// sse:// sses:// poll:// polls:// stomp:// stomps:// stomp+ws:// stomp+wss:// sockjs:// sockjss:// sockjs+xhr:// sockjs+xhrs:// sio:// sios:// sio+poll:// sio+polls:// eio:// eios:// eio+poll:// eio+polls:// unix:"
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "serve cat pub sub passwd bench --help --version" -- "$word"))
        return
    fi
    case $command in
    serve) list=$(madang serve --help-all 2>/dev/null | grep -o '^--[a-z0-9-]*'; echo --config --state --help) ;;
    cat) list="--binary --reconnect --count --resume --wait --event --ack --answer $connection" ;;
    pub) list="--room --event --json $connection" ;;
    sub) list="--room --json --count --history --resume --once $connection" ;;
    bench)
        list="--conns --size --in-flight --burst --messages --seconds --publish-url --hello --room --event --ack --binary --pid --json $connection"
        [ "$COMP_CWORD" -gt 2 ] || schemes="echo fanout idle connect"
        ;;
    esac
    case $word in
    -*) COMPREPLY=($(compgen -W "$list" -- "$word")) ;;
    *)
        case $command in
        cat | pub | sub | bench)
            COMPREPLY=($(compgen -W "$schemes" -- "$word"))
            compopt -o nospace 2>/dev/null
            ;;
        esac
        [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "$word"))
        ;;
    esac
}
complete -F _madang madang
