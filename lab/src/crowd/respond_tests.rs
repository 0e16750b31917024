//! What a crowd answers, without a network.

use super::super::{Cut, Move, Ports};
use super::*;
use portolan_wire::arp::ArpRequest;
use portolan_wire::ndp::NeighbourSolicitation;
use portolan_wire::{Framing, Syn as Probe, SynTemplate};
use std::time::Duration;

const SCANNER_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const SECOND: Duration = Duration::from_secs(1);

/// A stage under way and its clock.
struct Play {
    stage: Stage,
    now: Instant,
    source: IpAddr,
}

impl Play {
    fn new(hosts: Vec<Host>) -> Self {
        let source = match hosts[0].address {
            IpAddr::V4(_) => "198.18.64.1",
            IpAddr::V6(_) => "2001:db8:64::1",
        };
        let stage = Stage::new(hosts, 1);
        let now = stage.begun;
        Self {
            stage,
            now,
            source: source.parse().unwrap(),
        }
    }

    fn syn(&mut self, host: &Host, port: u16, source_port: u16) -> Vec<Vec<u8>> {
        let framing = Framing::Ethernet {
            source: SCANNER_MAC,
            destination: host.mac,
        };
        let mut frame = [0; SynTemplate::FRAME_LENGTH_MAX];
        let probe = Probe {
            next_hop: None,
            destination: host.address,
            destination_port: port,
            source_port,
            sequence: 0x0102_0304,
        };
        let length = SynTemplate::new(framing, self.source)
            .write(&probe, &mut frame)
            .unwrap();
        self.hear(&frame[..length])
    }

    fn hear(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        self.stage.hear(self.now, frame);
        self.due().0
    }

    fn due(&mut self) -> (Vec<Vec<u8>>, Option<Instant>) {
        let mut due = Vec::new();
        let mut next = self.stage.take_due(self.now, &mut due);
        while next.is_some_and(|next| next <= self.now) {
            let mut more = Vec::new();
            next = self.stage.take_due(self.now, &mut more);
            due.append(&mut more);
        }
        (due, next)
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    /// Flags and acknowledgement of the only answer to a SYN.
    fn answer(&mut self, host: &Host, port: u16) -> Option<(Flags, u32)> {
        let frames = self.syn(host, port, 61_440);
        assert!(frames.len() <= 1, "{frames:?}");
        frames.first().map(|frame| read(frame))
    }
}

fn read(frame: &[u8]) -> (Flags, u32) {
    match parse(frame, LinkType::Ethernet) {
        Ok(Packet::Tcp(tcp)) => (tcp.flags, tcp.acknowledgement),
        other => panic!("{other:?}"),
    }
}

fn v4() -> Host {
    Host::at("198.18.64.9".parse::<IpAddr>().unwrap()).open(&[80])
}

fn v6() -> Host {
    Host::at("2001:db8:64::9".parse::<IpAddr>().unwrap()).open(&[80])
}

const SYN_ACK: Flags = Flags::SYN.with(Flags::ACK);
const REFUSAL: Flags = Flags::RST.with(Flags::ACK);
const RIGHT: u32 = 0x0102_0305;

#[test]
fn ports_answer_as_they_are() {
    for host in [v4(), v6()] {
        let mut play = Play::new(vec![host.clone()]);
        assert_eq!(play.answer(&host, 80), Some((SYN_ACK, RIGHT)));
        assert_eq!(play.answer(&host, 81), Some((REFUSAL, RIGHT)));
        play.stage
            .change(host.address, |host| host.closed = Closed::Silent);
        assert_eq!(play.answer(&host, 81), None);
        let prohibited = Icmp::PROHIBITED;
        play.stage
            .change(host.address, |host| host.closed = Closed::Icmp(prohibited));
        let frames = play.syn(&host, 81, 61_440);
        assert_eq!(frames.len(), 1);
        assert!(!play.stage.change(play.source, |_| {}));
    }
}

#[test]
fn nothing_answers_for_others() {
    let host = v4();
    let mut play = Play::new(vec![host.clone()]);
    let other = Host::at("198.18.64.10".parse::<IpAddr>().unwrap());
    assert_eq!(play.answer(&other, 80), None);
    let elsewhere = Host {
        mac: SCANNER_MAC,
        ..host.clone()
    };
    assert_eq!(play.answer(&elsewhere, 80), None);
    let heard = |address| play.stage.record().heard(address).unwrap().syns;
    assert_eq!((heard(other.address), heard(host.address)), (1, 1));
}

#[test]
fn neighbours_tell_where_they_are() {
    let (host, router) = (v4(), Mac([2, 0, 0, 0, 0, 2]));
    let beyond = Host::behind(router, "198.18.64.10".parse::<IpAddr>().unwrap());
    let mut play = Play::new(vec![host.clone(), beyond.clone()]);
    let ask = |address: IpAddr| {
        let (IpAddr::V4(target), mut frame) = (address, [0; ArpRequest::FRAME_LENGTH]) else {
            panic!("{address}");
        };
        let request = ArpRequest {
            mac: SCANNER_MAC,
            source: Ipv4Addr::new(198, 18, 64, 1),
            target,
        };
        request.write(&mut frame).unwrap();
        frame
    };
    let told = play.hear(&ask(host.address));
    let Ok(Packet::Arp(arp)) = parse(&told[0], LinkType::Ethernet) else {
        panic!("{told:?}");
    };
    assert_eq!(arp.sender_mac, host.mac);
    assert_eq!(play.hear(&ask(beyond.address)).len(), 0);
    let host = v6();
    let mut play = Play::new(vec![host.clone()]);
    let IpAddr::V6(target) = host.address else {
        panic!("{host:?}");
    };
    let mut frame = [0; NeighbourSolicitation::FRAME_LENGTH];
    let question = NeighbourSolicitation {
        mac: SCANNER_MAC,
        source: "fe80::1".parse().unwrap(),
        target,
    };
    question.write(&mut frame).unwrap();
    let told = play.hear(&frame);
    let read = parse(&told[0], LinkType::Ethernet);
    assert!(
        matches!(read, Ok(Packet::NeighbourAdvertisement(told)) if told.mac == Some(host.mac)),
        "{read:?}"
    );
    assert_eq!(
        play.stage.record().heard(host.address).unwrap().questions,
        1
    );
}

#[test]
fn answers_take_their_time() {
    let host = v4().rtt(SECOND);
    let mut play = Play::new(vec![host.clone()]);
    assert_eq!(play.answer(&host, 80), None);
    play.wait(SECOND / 2);
    let (none, next) = play.due();
    assert_eq!((none.len(), next), (0, Some(play.now + SECOND / 2)));
    play.wait(SECOND / 2);
    assert_eq!(play.due().0.len(), 1);
}

#[test]
fn a_policer_lets_its_rate_through() {
    let policer = Policer {
        rate: 100,
        burst: 10,
    };
    let host = v4().way(Way {
        policer: Some(policer),
        ..Way::default()
    });
    let mut play = Play::new(vec![host.clone()]);
    let mut answered = 0;
    // Two seconds at ten times the rate.
    for _ in 0..2_000 {
        answered += usize::from(play.answer(&host, 80).is_some());
        play.wait(Duration::from_millis(1));
    }
    assert!((205..=211).contains(&answered), "{answered}");
}

#[test]
fn some_of_the_packets_are_lost() {
    let host = v4().way(Way {
        loss_in_permille: 100,
        loss_out_permille: 100,
        ..Way::default()
    });
    let mut play = Play::new(vec![host.clone()]);
    let answered = (0..2_000).filter(|_| play.answer(&host, 80).is_some());
    let answered = answered.count();
    assert!((1_500..1_740).contains(&answered), "{answered}");
}

fn check_cut(host: &Host, play: &mut Play) {
    assert!(play.answer(host, 80).is_some());
    assert_eq!(play.answer(host, 80), None);
    play.wait(Duration::from_millis(999));
    assert_eq!(play.answer(host, 80), None);
    play.wait(Duration::from_millis(1));
    assert!(play.answer(host, 80).is_some());
    play.stage.forget();
    check_counted(host, play);
}

/// After what was heard is forgotten, it is counted anew.
fn check_counted(host: &Host, play: &mut Play) {
    assert_eq!(play.stage.record().syns(), 0);
    assert!(play.answer(host, 80).is_some());
    assert_eq!(play.answer(host, 80), None);
}

#[test]
fn a_cut_begins_and_ends() {
    let cuts = vec![Cut {
        after_syns: 2,
        lasts: SECOND,
    }];
    let way = Way {
        cuts,
        ..Way::default()
    };
    let host = v4().way(way.clone());
    check_cut(&host, &mut Play::new(vec![host.clone()]));
    let host = v4();
    let mut play = Play::new(vec![host.clone()]);
    play.stage.change_path(|path| *path = way);
    check_cut(&host, &mut play);
}

#[test]
fn a_hardware_address_moves() {
    let mac = Mac([2, 0, 0, 0, 0, 0x77]);
    let mut host = v4();
    host.moves.push(Move { after_syns: 2, mac });
    let mut play = Play::new(vec![host.clone()]);
    assert!(play.answer(&host, 80).is_some());
    assert_eq!(play.answer(&host, 80), None);
    assert_eq!(play.answer(&host, 80), None);
    host.mac = mac;
    assert!(play.answer(&host, 80).is_some());
}

#[test]
fn a_deaf_host_hears_the_second_syn() {
    let mut host = v4();
    host.deaf = Some(Deaf::Tuple);
    let mut play = Play::new(vec![host.clone()]);
    assert_eq!(play.syn(&host, 80, 1).len(), 0);
    assert_eq!(play.syn(&host, 80, 2).len(), 0);
    assert_eq!(play.syn(&host, 80, 1).len(), 1);
    play.stage
        .change(host.address, |host| host.deaf = Some(Deaf::Pair));
    assert_eq!(play.syn(&host, 81, 1).len(), 0);
    assert_eq!(play.syn(&host, 81, 2).len(), 1);
}

#[test]
fn noise_is_no_answer() {
    let all = || Ports::All;
    let host = v4()
        .noise(all(), Noise::Forged)
        .noise(all(), Noise::CutShort)
        .noise(all(), Noise::EveryIcmpForged)
        .noise(all(), Noise::EveryIcmp);
    let mut play = Play::new(vec![host.clone()]);
    let frames = play.syn(&host, 81, 1);
    assert_eq!(frames.len(), 5 + 40 + 2 * 256 * 16 + 1);
    let right = frames.iter().filter(|frame| {
        let read = parse(frame, LinkType::Ethernet);
        matches!(read, Ok(Packet::Tcp(tcp)) if tcp.acknowledgement == RIGHT)
    });
    assert_eq!(right.count(), 1);
    let host = v4().noise(all(), Noise::Copies(1_000));
    let mut play = Play::new(vec![host.clone()]);
    assert_eq!(play.syn(&host, 80, 1).len(), 1_001);
}

#[test]
fn an_open_port_talks_as_it_is_told() {
    let host = v4();
    let mut play = Play::new(vec![host.clone()]);
    let envelope = Envelope {
        from: SCANNER_MAC,
        to: host.mac,
        addresses: Addresses {
            source: play.source,
            destination: host.address,
        },
        hop_limit: 64,
    };
    let say = |play: &mut Play, flags| {
        let segment = Segment {
            source_port: 1,
            destination_port: 80,
            sequence: 10,
            acknowledgement: 20,
            flags,
        };
        let frames = play.hear(&frame::tcp(&envelope, &segment));
        frames.first().map(|frame| read(frame))
    };
    assert_eq!(say(&mut play, Flags::ACK), None);
    assert_eq!(say(&mut play, Flags::RST), None);
    let fin = Flags::FIN.with(Flags::ACK);
    assert_eq!(say(&mut play, fin), Some((fin, 11)));
    play.stage
        .change(host.address, |host| host.talk = Talk::Reset);
    assert_eq!(say(&mut play, Flags::ACK), Some((Flags::RST, 10)));
}
