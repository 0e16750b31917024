//! One interface as the kernel describes it (`RTM_GETLINK` of `rtnetlink(7)`): how it frames, its
//! hardware address, and how much it carries.
//!
//! What is not here: the addresses on it (see [`crate::interface`]).

use crate::netlink::{AF_UNSPEC, Message, Netlink, NetlinkError, Question, attributes};
use crate::netlink::{u16_at, u32_at};
use nix::errno::Errno;
use portolan_model::Text;
use portolan_wire::{LinkType, Mac};

/// How frames look on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// No link header: tunnels and point-to-point links.
    Bare,
    /// Ethernet, also veth, bridges, bonds and VLAN interfaces.
    Ethernet,
    /// The loopback interface: Ethernet headers with addresses of zero.
    Loopback,
    /// Something else, which is not spoken here: its ARP hardware type.
    Other(u16),
}

impl LinkKind {
    const fn of(hardware: u16) -> Self {
        match hardware {
            ARPHRD_ETHER => Self::Ethernet,
            ARPHRD_LOOPBACK => Self::Loopback,
            ARPHRD_PPP | ARPHRD_RAWIP | ARPHRD_TUNNEL | ARPHRD_TUNNEL6 | ARPHRD_SIT
            | ARPHRD_IPGRE | ARPHRD_IP6GRE | ARPHRD_NONE => Self::Bare,
            other => Self::Other(other),
        }
    }

    /// The link header of frames on it; `None` when it is not spoken here.
    pub const fn link_type(self) -> Option<LinkType> {
        match self {
            Self::Bare => Some(LinkType::Bare),
            Self::Ethernet | Self::Loopback => Some(LinkType::Ethernet),
            Self::Other(_) => None,
        }
    }
}

/// A VLAN interface (IEEE 802.1Q): its frames carry no tag here, the interface below adds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// VLAN identifier, 0 to 4,095.
    pub id: u16,
    /// Index of the interface below.
    pub lower: Option<u32>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index, never 0.
    pub index: u32,
    /// Name, as `eth0`.
    pub name: Text,
    /// How it frames.
    pub kind: LinkKind,
    /// Its own hardware address, where it has a 48-bit one.
    pub mac: Option<Mac>,
    /// Longest IP packet in bytes.
    pub mtu: u32,
    /// Up by configuration, and with a carrier.
    pub up: bool,
    /// Whether neighbours have to be asked for their hardware addresses (no `IFF_NOARP`).
    pub resolves: bool,
    /// Set for VLAN interfaces.
    pub vlan: Option<Vlan>,
    /// What makes the interface, as `veth` or `bridge`; empty where a device does.
    pub driver_kind: Text,
    /// Receive queues that it can have.
    pub receive_queues: u32,
    /// Whether a program takes frames there before the kernel does (XDP).
    pub has_program: bool,
}

/// Why an interface could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The kernel did not tell.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// There is no such interface, or no more.
    #[error(
        "there is no interface with index {0}; it may have been removed: list them with `ip link`"
    )]
    None(u32),
}

/// Asks for the interface `index`.
pub(crate) fn link(netlink: &mut Netlink, index: u32) -> Result<Link, LinkError> {
    let mut header = [AF_UNSPEC; HEADER_BYTES];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let question = Question::one(RTM_GETLINK, &header)
        .attribute(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
    let mut found = None;
    let asked = netlink.ask(question, |message| {
        found = found.take().or_else(|| read(message));
    });
    match asked {
        Ok(()) => found.ok_or(LinkError::None(index)),
        Err(NetlinkError::Answered(Errno::ENODEV | Errno::EINVAL)) => Err(LinkError::None(index)),
        Err(error) => Err(error.into()),
    }
}

fn read(message: Message<'_>) -> Option<Link> {
    if message.kind != RTM_NEWLINK {
        return None;
    }
    let payload = message.payload;
    let kind = LinkKind::of(u16_at(payload, 2)?);
    let flags = u32_at(payload, 8)?;
    let mut link = Link {
        index: u32_at(payload, 4)?,
        name: Text::default(),
        kind,
        mac: None,
        mtu: 0,
        up: flags & UP == UP,
        resolves: flags & IFF_NOARP == 0 && kind == LinkKind::Ethernet,
        vlan: None,
        driver_kind: Text::default(),
        receive_queues: 1,
        has_program: false,
    };
    let mut lower = None;
    for (attribute, value) in attributes(payload, HEADER_BYTES) {
        match attribute {
            IFLA_ADDRESS => link.mac = value.try_into().ok().map(Mac),
            IFLA_IFNAME => {
                let name = value.strip_suffix(&[0]).unwrap_or(value);
                link.name = Text::from_bytes(name);
            }
            IFLA_MTU => link.mtu = u32_at(value, 0)?,
            IFLA_LINK => lower = u32_at(value, 0),
            IFLA_LINKINFO => {
                link.driver_kind = driver_kind(value);
                link.vlan = vlan(value);
            }
            IFLA_NUM_RX_QUEUES => link.receive_queues = u32_at(value, 0)?,
            IFLA_XDP => link.has_program = has_program(value),
            _ => {}
        }
    }
    if let Some(vlan) = &mut link.vlan {
        vlan.lower = lower;
    }
    Some(link)
}

/// What kind of interface the kernel makes.
fn driver_kind(info: &[u8]) -> Text {
    let kind = attributes(info, 0).find(|(it, _)| *it == IFLA_INFO_KIND);
    let name = kind.map_or(&[][..], |(_, name)| name);
    Text::from_bytes(name.strip_suffix(&[0]).unwrap_or(name))
}

/// Whether a program is attached, wherever.
fn has_program(xdp: &[u8]) -> bool {
    attributes(xdp, 0).any(|(it, value)| it == IFLA_XDP_ATTACHED && value.first() != Some(&0))
}

/// What the driver of a VLAN interface tells about it.
fn vlan(info: &[u8]) -> Option<Vlan> {
    let of = |wanted| attributes(info, 0).find_map(|(it, value)| (it == wanted).then_some(value));
    if of(IFLA_INFO_KIND)? != b"vlan\0" {
        return None;
    }
    let mut data = attributes(of(IFLA_INFO_DATA)?, 0);
    let id = data.find_map(|(it, value)| (it == IFLA_VLAN_ID).then_some(value))?;
    Some(Vlan {
        id: u16_at(id, 0)?,
        lower: None,
    })
}

/// `struct ifinfomsg`: family, padding, hardware type, index, flags, change mask.
const HEADER_BYTES: usize = 16;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
/// Counters are not looked at.
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const IFF_NOARP: u32 = 0x80;
/// `IFF_UP` and `IFF_LOWER_UP`.
const UP: u32 = 0x1 | 0x1_0000;
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_PPP: u16 = 512;
const ARPHRD_RAWIP: u16 = 519;
const ARPHRD_TUNNEL: u16 = 768;
const ARPHRD_TUNNEL6: u16 = 769;
const ARPHRD_LOOPBACK: u16 = 772;
const ARPHRD_SIT: u16 = 776;
const ARPHRD_IPGRE: u16 = 778;
const ARPHRD_IP6GRE: u16 = 823;
const ARPHRD_NONE: u16 = 0xfffe;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::messages;

    fn message(hardware: u16, flags: u32) -> Question {
        let mut header = [0; HEADER_BYTES];
        header[2..4].copy_from_slice(&hardware.to_ne_bytes());
        header[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        header[8..12].copy_from_slice(&flags.to_ne_bytes());
        Question::one(RTM_NEWLINK, &header)
            .attribute(IFLA_MTU, &1_420_u32.to_ne_bytes())
            .attribute(IFLA_IFNAME, b"lab0\0")
    }

    fn link_of(mut message: Question) -> Option<Link> {
        messages(message.finish(1)).find_map(read)
    }

    fn check(hardware: u16, kind: LinkKind, link_type: Option<LinkType>, resolves: bool) {
        let link = link_of(message(hardware, UP)).unwrap();
        assert_eq!(
            (link.kind, link.kind.link_type(), link.resolves),
            (kind, link_type, resolves)
        );
        assert_eq!(
            (link.index, link.name.as_str(), link.mtu),
            (7, "lab0", 1_420)
        );
        assert_eq!((link.mac, link.vlan, link.up), (None, None, true));
    }

    #[test]
    fn the_hardware_type_says_how_frames_look() {
        check(1, LinkKind::Ethernet, Some(LinkType::Ethernet), true);
        check(772, LinkKind::Loopback, Some(LinkType::Ethernet), false);
        check(0xfffe, LinkKind::Bare, Some(LinkType::Bare), false);
        check(512, LinkKind::Bare, Some(LinkType::Bare), false);
        check(803, LinkKind::Other(803), None, false);
    }

    #[test]
    fn an_interface_without_carrier_or_without_arp_is_told_from_others() {
        let link = |flags| link_of(message(ARPHRD_ETHER, flags)).unwrap();
        assert!(!link(0x1).up);
        assert!(!link(0x1_0000).up);
        assert!(!link(UP | IFF_NOARP).resolves);
        assert!(link(UP).resolves);
    }

    #[test]
    fn a_vlan_names_its_tag_and_the_interface_below() {
        let nested = |kind: &[u8], id: u16| {
            let data = Question::one(0, &[]).attribute(IFLA_VLAN_ID, &id.to_ne_bytes());
            let info = Question::one(0, &[])
                .attribute(IFLA_INFO_KIND, kind)
                .attribute(IFLA_INFO_DATA, data.attributes());
            info.attributes().to_vec()
        };
        let with = |info: &[u8]| {
            link_of(
                message(ARPHRD_ETHER, UP)
                    .attribute(IFLA_ADDRESS, &[2, 0, 0, 0, 0, 1])
                    .attribute(IFLA_LINKINFO, info)
                    .attribute(IFLA_LINK, &3_u32.to_ne_bytes()),
            )
            .unwrap()
        };
        let link = with(&nested(b"vlan\0", 42));
        assert_eq!(link.mac, Some(Mac([2, 0, 0, 0, 0, 1])));
        let expected = Vlan {
            id: 42,
            lower: Some(3),
        };
        assert_eq!(link.vlan, Some(expected));
        assert_eq!(with(&nested(b"veth\0", 42)).vlan, None);
        assert_eq!(with(&[]).vlan, None);
    }

    #[test]
    fn what_makes_an_interface_its_queues_and_its_program_are_read() {
        let info = Question::one(0, &[]).attribute(IFLA_INFO_KIND, b"veth\0");
        let with = |attached: u8| {
            let xdp = Question::one(0, &[]).attribute(IFLA_XDP_ATTACHED, &[attached]);
            let link = message(ARPHRD_ETHER, UP)
                .attribute(IFLA_NUM_RX_QUEUES, &4_u32.to_ne_bytes())
                .attribute(IFLA_LINKINFO, info.attributes())
                .attribute(IFLA_XDP, xdp.attributes());
            link_of(link).unwrap()
        };
        let link = with(0);
        assert_eq!(
            (link.driver_kind.as_str(), link.receive_queues),
            ("veth", 4)
        );
        assert!(!link.has_program);
        assert!(with(1).has_program);
        let plain = link_of(message(ARPHRD_ETHER, UP)).unwrap();
        assert_eq!((plain.driver_kind.as_str(), plain.receive_queues), ("", 1));
        assert!(!plain.has_program);
    }

    #[test]
    fn a_cut_answer_never_panics() {
        let mut whole = message(ARPHRD_ETHER, UP);
        let bytes = whole.finish(1).to_vec();
        for length in 16..bytes.len() {
            let message = Message::for_test(RTM_NEWLINK, &bytes[16..length]);
            assert!(read(message).is_none_or(|it| it.index == 7), "{length}");
        }
    }
}
