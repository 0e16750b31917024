
use builtin;
use str;

set edit:completion:arg-completer[portolan] = {|@words|
    fn spaces {|n|
        builtin:repeat $n ' ' | str:join ''
    }
    fn cand {|text desc|
        edit:complex-candidate $text &display=$text' '(spaces (- 14 (wcswidth $text)))$desc
    }
    var command = 'portolan'
    for word $words[1..-1] {
        if (str:has-prefix $word '-') {
            break
        }
        set command = $command';'$word
    }
    var completions = [
        &'portolan'= {
            cand --color 'When to colour; NO_COLOR is honoured'
            cand -q 'Say only results'
            cand --quiet 'Say only results'
            cand -v 'Say more: the engine and why, ways out, reasons, probes, whole banners'
            cand --verbose 'Say more: the engine and why, ways out, reasons, probes, whole banners'
            cand --accessible 'Sentences instead of columns, for screen readers'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
            cand scan 'Find open ports and name what speaks there'
            cand local 'Show what listens on this machine, who holds it, and who is in whose way'
            cand doctor 'Tell what will and will not work here, and the command that mends it'
            cand config 'Show the settings of `scan` and where each comes from'
            cand completions 'Print the completions for a shell'
            cand man 'Print the man page'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'portolan;scan'= {
            cand -i 'Read targets from a list, nmap XML or Portolan JSON'
            cand --input 'Read targets from a list, nmap XML or Portolan JSON'
            cand -x 'Never touch these; wins over every target'
            cand --exclude 'Never touch these; wins over every target'
            cand --exclude-file 'Read exclusions from a file'
            cand --scope 'What may be touched, on whose word (TOML); needed for anything the internet routes'
            cand --i-am-authorized 'Who allowed this scan; stands in for a scope file'
            cand -p '80,443,8000-8100, - for all, top100, service names, T:…,U:… [default: top1000 and known UDP services]'
            cand --ports '80,443,8000-8100, - for all, top100, service names, T:…,U:… [default: top1000 and known UDP services]'
            cand --engine 'How TCP is probed'
            cand --io 'How raw packets pass between the program and an interface'
            cand --discovery 'Look for hosts first, by raw packets, and ask the ports of those that answer: auto does so where packets may be sent, for more than 16 addresses and 4 ports; never asks every port of every address'
            cand --rate 'Probes a second in total'
            cand --host-rate 'Probes a second to one host'
            cand --retries 'Further probes to a silent port [default: as many as the measured loss asks for]'
            cand --timeout 'Wait for one probe, in milliseconds'
            cand --max-time 'Longest scan, as 90s, 10m or 1h30m; what was found by then is shown'
            cand --depth 'How far to go: identify and inspect both name what speaks on each open port'
            cand --ask-anyway 'Send to these TCP ports, too, where services that print or move whatever they are sent would get nothing: 9100, 515, 502 and the like; as for --ports'
            cand --fingerprints 'Name products by the fingerprints in this folder as well: *.xml, in the format of recog'
            cand --interface 'Send on this interface'
            cand --source-ip 'Send from this address'
            cand --source-port 'Send from this port'
            cand --receive-buffer 'Memory for received packets of each interface, for raw packets alone [default: 16777216]'
            cand --seed 'Seed of the probe order: the same seed gives the same order [default: random]'
            cand --shard 'Probe only part K of N disjoint parts; needs --seed'
            cand --resume 'Go on from a checkpoint after ^C or a crash'
            cand --checkpoint 'Keep the checkpoint here [default: in the state folder]'
            cand --format 'Format on stdout [default: table on a terminal, else jsonl]'
            cand -o 'Write the result here as well, in the format of the extension; may be repeated'
            cand --output 'Write the result here as well, in the format of the extension; may be repeated'
            cand --only 'Show only open ports; nothing is kept less'
            cand --progress 'Progress on stderr'
            cand --color 'When to colour; NO_COLOR is honoured'
            cand --tcp 'Probe TCP ports only; with --udp, both'
            cand --udp 'Probe UDP ports only; with --tcp, both'
            cand --dry-run 'Print what would be probed, and send nothing'
            cand -q 'Say only results'
            cand --quiet 'Say only results'
            cand -v 'Say more: the engine and why, ways out, reasons, probes, whole banners'
            cand --verbose 'Say more: the engine and why, ways out, reasons, probes, whole banners'
            cand --accessible 'Sentences instead of columns, for screen readers'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'portolan;local'= {
            cand --format 'How the result is written'
            cand --color 'When to colour; NO_COLOR is honoured'
            cand -q 'Say only results'
            cand --quiet 'Say only results'
            cand -v 'Say more: the engine and why, ways out, reasons, probes, whole banners'
            cand --verbose 'Say more: the engine and why, ways out, reasons, probes, whole banners'
            cand --accessible 'Sentences instead of columns, for screen readers'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'portolan;doctor'= {
            cand --format 'How the result is written'
            cand --fingerprints 'Instead of this machine, look over the fingerprints in this folder, and try their examples'
            cand --color 'When to colour; NO_COLOR is honoured'
            cand -q 'Say only results'
            cand --quiet 'Say only results'
            cand -v 'Say more: the engine and why, ways out, reasons, probes, whole banners'
            cand --verbose 'Say more: the engine and why, ways out, reasons, probes, whole banners'
            cand --accessible 'Sentences instead of columns, for screen readers'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'portolan;config'= {
            cand --color 'When to colour; NO_COLOR is honoured'
            cand -q 'Say only results'
            cand --quiet 'Say only results'
            cand -v 'Say more: the engine and why, ways out, reasons, probes, whole banners'
            cand --verbose 'Say more: the engine and why, ways out, reasons, probes, whole banners'
            cand --accessible 'Sentences instead of columns, for screen readers'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand show 'Print every setting'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'portolan;config;show'= {
            cand --color 'When to colour; NO_COLOR is honoured'
            cand --origin 'Also print where each comes from'
            cand -q 'Say only results'
            cand --quiet 'Say only results'
            cand -v 'Say more: the engine and why, ways out, reasons, probes, whole banners'
            cand --verbose 'Say more: the engine and why, ways out, reasons, probes, whole banners'
            cand --accessible 'Sentences instead of columns, for screen readers'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'portolan;config;help'= {
            cand show 'Print every setting'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'portolan;config;help;show'= {
        }
        &'portolan;config;help;help'= {
        }
        &'portolan;completions'= {
            cand --color 'When to colour; NO_COLOR is honoured'
            cand -q 'Say only results'
            cand --quiet 'Say only results'
            cand -v 'Say more: the engine and why, ways out, reasons, probes, whole banners'
            cand --verbose 'Say more: the engine and why, ways out, reasons, probes, whole banners'
            cand --accessible 'Sentences instead of columns, for screen readers'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'portolan;man'= {
            cand --color 'When to colour; NO_COLOR is honoured'
            cand -q 'Say only results'
            cand --quiet 'Say only results'
            cand -v 'Say more: the engine and why, ways out, reasons, probes, whole banners'
            cand --verbose 'Say more: the engine and why, ways out, reasons, probes, whole banners'
            cand --accessible 'Sentences instead of columns, for screen readers'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'portolan;help'= {
            cand scan 'Find open ports and name what speaks there'
            cand local 'Show what listens on this machine, who holds it, and who is in whose way'
            cand doctor 'Tell what will and will not work here, and the command that mends it'
            cand config 'Show the settings of `scan` and where each comes from'
            cand completions 'Print the completions for a shell'
            cand man 'Print the man page'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'portolan;help;scan'= {
        }
        &'portolan;help;local'= {
        }
        &'portolan;help;doctor'= {
        }
        &'portolan;help;config'= {
            cand show 'Print every setting'
        }
        &'portolan;help;config;show'= {
        }
        &'portolan;help;completions'= {
        }
        &'portolan;help;man'= {
        }
        &'portolan;help;help'= {
        }
    ]
    $completions[$command]
}
