# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_portolan_global_optspecs
    string join \n q/quiet v/verbose color= accessible h/help V/version
end

function __fish_portolan_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_portolan_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_portolan_using_subcommand
    set -l cmd (__fish_portolan_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c portolan -n "__fish_portolan_needs_command" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "always\t'Always'
auto\t'On a terminal'
never\t'Never'"
complete -c portolan -n "__fish_portolan_needs_command" -s q -l quiet -d 'Say only results'
complete -c portolan -n "__fish_portolan_needs_command" -s v -l verbose -d 'Say more: the engine and why, ways out, reasons, probes, whole banners'
complete -c portolan -n "__fish_portolan_needs_command" -l accessible -d 'Sentences instead of columns, for screen readers'
complete -c portolan -n "__fish_portolan_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c portolan -n "__fish_portolan_needs_command" -s V -l version -d 'Print version'
complete -c portolan -n "__fish_portolan_needs_command" -f -a "scan" -d 'Find open ports and name what speaks there'
complete -c portolan -n "__fish_portolan_needs_command" -f -a "local" -d 'Show what listens on this machine, who holds it, and who is in whose way'
complete -c portolan -n "__fish_portolan_needs_command" -f -a "doctor" -d 'Tell what will and will not work here, and the command that mends it'
complete -c portolan -n "__fish_portolan_needs_command" -f -a "config" -d 'Show the settings of `scan` and where each comes from'
complete -c portolan -n "__fish_portolan_needs_command" -f -a "completions" -d 'Print the completions for a shell'
complete -c portolan -n "__fish_portolan_needs_command" -f -a "man" -d 'Print the man page'
complete -c portolan -n "__fish_portolan_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c portolan -n "__fish_portolan_using_subcommand scan" -s i -l input -d 'Read targets from a list, nmap XML or Portolan JSON' -r -F
complete -c portolan -n "__fish_portolan_using_subcommand scan" -s x -l exclude -d 'Never touch these; wins over every target' -r
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l exclude-file -d 'Read exclusions from a file' -r -F
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l scope -d 'What may be touched, on whose word (TOML); needed for anything the internet routes' -r -F
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l i-am-authorized -d 'Who allowed this scan; stands in for a scope file' -r
complete -c portolan -n "__fish_portolan_using_subcommand scan" -s p -l ports -d '80,443,8000-8100, - for all, top100, service names, T:…,U:… [default: top1000 and known UDP services]' -r
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l engine -d 'How TCP is probed' -r -f -a "auto\t'syn where it may be used, else connect'
connect\t'The system\'s connect: needs no privilege'
syn\t'Raw packets: need root, or the capability for them'"
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l io -d 'How raw packets pass between the program and an interface' -r -f -a "auto\t'The best way that changes nothing on an interface'
packet\t'Packet sockets alone'
xdp\t'XDP sockets to send and receive, and a program on the interface, which may restart it'"
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l discovery -d 'Look for hosts first, by raw packets, and ask the ports of those that answer: auto does so where packets may be sent, for more than 16 addresses and 4 ports; never asks every port of every address' -r -f -a "always\t'Always; takes raw packets'
auto\t'By raw packets, where more than 16 addresses and 4 ports are named'
never\t'Never: every port of every address is asked'"
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l rate -d 'Probes a second in total' -r
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l host-rate -d 'Probes a second to one host' -r
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l retries -d 'Further probes to a silent port [default: as many as the measured loss asks for]' -r
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l timeout -d 'Wait for one probe, in milliseconds' -r
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l max-time -d 'Longest scan, as 90s, 10m or 1h30m; what was found by then is shown' -r
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l depth -d 'How far to go: identify and inspect both name what speaks on each open port' -r -f -a "ports\t'States of ports only'
identify\t'What speaks there'
inspect\t'The same in this version'"
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l ask-anyway -d 'Send to these TCP ports, too, where services that print or move whatever they are sent would get nothing: 9100, 515, 502 and the like; as for --ports' -r
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l fingerprints -d 'Name products by the fingerprints in this folder as well: *.xml, in the format of recog' -r -f -a "(__fish_complete_directories)"
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l interface -d 'Send on this interface' -r
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l source-ip -d 'Send from this address' -r
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l source-port -d 'Send from this port' -r
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l receive-buffer -d 'Memory for received packets of each interface, for raw packets alone [default: 16777216]' -r
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l seed -d 'Seed of the probe order: the same seed gives the same order [default: random]' -r
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l shard -d 'Probe only part K of N disjoint parts; needs --seed' -r
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l resume -d 'Go on from a checkpoint after ^C or a crash' -r -F
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l checkpoint -d 'Keep the checkpoint here [default: in the state folder]' -r -F
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l format -d 'Format on stdout [default: table on a terminal, else jsonl]' -r -f -a "csv\t''
json\t''
jsonl\t''
list\t''
table\t''
xml\t''"
complete -c portolan -n "__fish_portolan_using_subcommand scan" -s o -l output -d 'Write the result here as well, in the format of the extension; may be repeated' -r -F
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l only -d 'Show only open ports; nothing is kept less' -r -f -a "open\t'Open ports'"
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l progress -d 'Progress on stderr' -r -f -a "auto\t'On a terminal'
never\t'Never'"
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "always\t'Always'
auto\t'On a terminal'
never\t'Never'"
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l tcp -d 'Probe TCP ports only; with --udp, both'
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l udp -d 'Probe UDP ports only; with --tcp, both'
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l dry-run -d 'Print what would be probed, and send nothing'
complete -c portolan -n "__fish_portolan_using_subcommand scan" -s q -l quiet -d 'Say only results'
complete -c portolan -n "__fish_portolan_using_subcommand scan" -s v -l verbose -d 'Say more: the engine and why, ways out, reasons, probes, whole banners'
complete -c portolan -n "__fish_portolan_using_subcommand scan" -l accessible -d 'Sentences instead of columns, for screen readers'
complete -c portolan -n "__fish_portolan_using_subcommand scan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c portolan -n "__fish_portolan_using_subcommand local" -l format -d 'How the result is written' -r -f -a "json\t'One document'
table\t'For people'"
complete -c portolan -n "__fish_portolan_using_subcommand local" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "always\t'Always'
auto\t'On a terminal'
never\t'Never'"
complete -c portolan -n "__fish_portolan_using_subcommand local" -s q -l quiet -d 'Say only results'
complete -c portolan -n "__fish_portolan_using_subcommand local" -s v -l verbose -d 'Say more: the engine and why, ways out, reasons, probes, whole banners'
complete -c portolan -n "__fish_portolan_using_subcommand local" -l accessible -d 'Sentences instead of columns, for screen readers'
complete -c portolan -n "__fish_portolan_using_subcommand local" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c portolan -n "__fish_portolan_using_subcommand doctor" -l format -d 'How the result is written' -r -f -a "json\t'One document'
table\t'For people'"
complete -c portolan -n "__fish_portolan_using_subcommand doctor" -l fingerprints -d 'Instead of this machine, look over the fingerprints in this folder, and try their examples' -r -f -a "(__fish_complete_directories)"
complete -c portolan -n "__fish_portolan_using_subcommand doctor" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "always\t'Always'
auto\t'On a terminal'
never\t'Never'"
complete -c portolan -n "__fish_portolan_using_subcommand doctor" -s q -l quiet -d 'Say only results'
complete -c portolan -n "__fish_portolan_using_subcommand doctor" -s v -l verbose -d 'Say more: the engine and why, ways out, reasons, probes, whole banners'
complete -c portolan -n "__fish_portolan_using_subcommand doctor" -l accessible -d 'Sentences instead of columns, for screen readers'
complete -c portolan -n "__fish_portolan_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c portolan -n "__fish_portolan_using_subcommand config; and not __fish_seen_subcommand_from show help" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "always\t'Always'
auto\t'On a terminal'
never\t'Never'"
complete -c portolan -n "__fish_portolan_using_subcommand config; and not __fish_seen_subcommand_from show help" -s q -l quiet -d 'Say only results'
complete -c portolan -n "__fish_portolan_using_subcommand config; and not __fish_seen_subcommand_from show help" -s v -l verbose -d 'Say more: the engine and why, ways out, reasons, probes, whole banners'
complete -c portolan -n "__fish_portolan_using_subcommand config; and not __fish_seen_subcommand_from show help" -l accessible -d 'Sentences instead of columns, for screen readers'
complete -c portolan -n "__fish_portolan_using_subcommand config; and not __fish_seen_subcommand_from show help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c portolan -n "__fish_portolan_using_subcommand config; and not __fish_seen_subcommand_from show help" -f -a "show" -d 'Print every setting'
complete -c portolan -n "__fish_portolan_using_subcommand config; and not __fish_seen_subcommand_from show help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c portolan -n "__fish_portolan_using_subcommand config; and __fish_seen_subcommand_from show" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "always\t'Always'
auto\t'On a terminal'
never\t'Never'"
complete -c portolan -n "__fish_portolan_using_subcommand config; and __fish_seen_subcommand_from show" -l origin -d 'Also print where each comes from'
complete -c portolan -n "__fish_portolan_using_subcommand config; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Say only results'
complete -c portolan -n "__fish_portolan_using_subcommand config; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Say more: the engine and why, ways out, reasons, probes, whole banners'
complete -c portolan -n "__fish_portolan_using_subcommand config; and __fish_seen_subcommand_from show" -l accessible -d 'Sentences instead of columns, for screen readers'
complete -c portolan -n "__fish_portolan_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c portolan -n "__fish_portolan_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "show" -d 'Print every setting'
complete -c portolan -n "__fish_portolan_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c portolan -n "__fish_portolan_using_subcommand completions" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "always\t'Always'
auto\t'On a terminal'
never\t'Never'"
complete -c portolan -n "__fish_portolan_using_subcommand completions" -s q -l quiet -d 'Say only results'
complete -c portolan -n "__fish_portolan_using_subcommand completions" -s v -l verbose -d 'Say more: the engine and why, ways out, reasons, probes, whole banners'
complete -c portolan -n "__fish_portolan_using_subcommand completions" -l accessible -d 'Sentences instead of columns, for screen readers'
complete -c portolan -n "__fish_portolan_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c portolan -n "__fish_portolan_using_subcommand man" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "always\t'Always'
auto\t'On a terminal'
never\t'Never'"
complete -c portolan -n "__fish_portolan_using_subcommand man" -s q -l quiet -d 'Say only results'
complete -c portolan -n "__fish_portolan_using_subcommand man" -s v -l verbose -d 'Say more: the engine and why, ways out, reasons, probes, whole banners'
complete -c portolan -n "__fish_portolan_using_subcommand man" -l accessible -d 'Sentences instead of columns, for screen readers'
complete -c portolan -n "__fish_portolan_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c portolan -n "__fish_portolan_using_subcommand help; and not __fish_seen_subcommand_from scan local doctor config completions man help" -f -a "scan" -d 'Find open ports and name what speaks there'
complete -c portolan -n "__fish_portolan_using_subcommand help; and not __fish_seen_subcommand_from scan local doctor config completions man help" -f -a "local" -d 'Show what listens on this machine, who holds it, and who is in whose way'
complete -c portolan -n "__fish_portolan_using_subcommand help; and not __fish_seen_subcommand_from scan local doctor config completions man help" -f -a "doctor" -d 'Tell what will and will not work here, and the command that mends it'
complete -c portolan -n "__fish_portolan_using_subcommand help; and not __fish_seen_subcommand_from scan local doctor config completions man help" -f -a "config" -d 'Show the settings of `scan` and where each comes from'
complete -c portolan -n "__fish_portolan_using_subcommand help; and not __fish_seen_subcommand_from scan local doctor config completions man help" -f -a "completions" -d 'Print the completions for a shell'
complete -c portolan -n "__fish_portolan_using_subcommand help; and not __fish_seen_subcommand_from scan local doctor config completions man help" -f -a "man" -d 'Print the man page'
complete -c portolan -n "__fish_portolan_using_subcommand help; and not __fish_seen_subcommand_from scan local doctor config completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c portolan -n "__fish_portolan_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "show" -d 'Print every setting'
