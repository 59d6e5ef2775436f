//! Files over HTTP, TCP and the board's MAC.

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, Ipv4Address};
use tuffet_agent::engine::Input;
use tuffet_agent::{Error, Request, Transport, TransportFault};
use tuffet_device::http::{self, Answer, Progress};
use tuffet_emcraft_sf2::emac::Emac;
use tuffet_emcraft_sf2::{image, timer};
use tuffet_hil_protocol::page::DevicePage;

/// The device's own address, and the way out of its network: those of QEMU's user network.
const ADDRESS: Ipv4Address = Ipv4Address::new(10, 0, 2, 15);
const GATEWAY: Ipv4Address = Ipv4Address::new(10, 0, 2, 2);

/// Milliseconds until there is a connection.
const CONNECT: u64 = 10_000;
/// Milliseconds without a byte: a server that says nothing for so long has hung.
const SILENCE: u64 = 15_000;
/// Milliseconds for a whole fetch, on top of what [`SLOWEST`] gives.
const PATIENCE: u64 = 30_000;
/// Bytes a second. A server that sends a byte a minute never falls silent, and still comes to an end.
const SLOWEST: u64 = 1024;
/// Milliseconds for a connection to end as it should.
const GOODBYE: u64 = 500;

/// Ports to speak from: RFC 6335 leaves these to whoever wants one.
const PORTS: core::ops::RangeInclusive<u16> = 49_152..=65_535;

/// Memory of a connection.
pub(crate) struct Buffers {
    /// As many bytes may be under way: two full segments and some more.
    received: [u8; 4096],
    /// The longest request has a path of 553 bytes.
    sent: [u8; 1024],
}

impl Buffers {
    pub(crate) const fn new() -> Self {
        Self { received: [0; 4096], sent: [0; 1024] }
    }
}

/// The way to the repository.
pub(crate) struct Network {
    mac: Emac,
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    server: [u8; 4],
    port: u16,
    /// The port that was spoken from last. Each connection has another one, for the server's side may not yet have
    /// forgotten the one before.
    from: u16,
}

impl Network {
    pub(crate) fn start(
        mut mac: Emac,
        buffers: &'static mut Buffers,
        sockets: &'static mut [SocketStorage<'static>; 1],
        server: [u8; 4],
        page: &DevicePage,
    ) -> Self {
        let [a, b, c, d, e, rest @ ..] = page.id;
        let address = EthernetAddress([0x02, a, b, c, d, e]);
        let mut config = Config::new(HardwareAddress::Ethernet(address));
        // Decides where TCP's sequence numbers begin. This chip has no better source of chance.
        let [low, high, ..] = rest;
        let starts = image::starts();
        config.random_seed = (u64::from(starts) << 16) | u64::from(u16::from_le_bytes([low, high]));
        let mut interface = Interface::new(config, &mut mac, now());
        interface.update_ip_addrs(|addresses| {
            // There is room for one.
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(ADDRESS), 24));
        });
        // There is room for one.
        let _ = interface.routes_mut().add_default_ipv4_route(GATEWAY);
        let mut sockets = SocketSet::new(sockets.as_mut_slice());
        let Buffers { received, sent } = buffers;
        let socket =
            Socket::new(SocketBuffer::new(received.as_mut_slice()), SocketBuffer::new(sent.as_mut_slice()));
        let socket = sockets.add(socket);
        // A start asks for fewer files than that, as a rule.
        let ports = PORTS.end() - PORTS.start() + 1;
        let first = (starts as u16).wrapping_mul(61) % ports;
        let from = PORTS.start() + first;
        Self { mac, interface, sockets, socket, server, port: page.port, from }
    }

    /// Sees to what came, and to what is to go.
    fn poll(&mut self) -> &mut Socket<'static> {
        self.interface.poll(now(), &mut self.mac, &mut self.sockets);
        self.sockets.get_mut(self.socket)
    }

    /// Begins a connection.
    fn connect(&mut self) -> Result<(), TransportFault> {
        self.from = if self.from == *PORTS.end() { *PORTS.start() } else { self.from + 1 };
        let [a, b, c, d] = self.server;
        let server = (Ipv4Address::new(a, b, c, d), self.port);
        let socket = self.sockets.get_mut::<Socket<'_>>(self.socket);
        // What is not acknowledged for so long is lost.
        socket.set_timeout(Some(Duration::from_millis(SILENCE)));
        // Nobody waits for more to come before an acknowledgement goes.
        socket.set_nagle_enabled(false);
        let begun = socket.connect(self.interface.context(), server, self.from);
        begun.map_err(|_| TransportFault::Connection)?;
        let deadline = timer::milliseconds().saturating_add(CONNECT);
        loop {
            let socket = self.poll();
            if socket.may_send() {
                return Ok(());
            }
            if !socket.is_open() {
                return Err(TransportFault::Connection);
            }
            if timer::milliseconds() > deadline {
                return Err(TransportFault::Timeout);
            }
            timer::pause();
        }
    }

    /// Asks, and takes the answer.
    fn exchange(
        &mut self,
        request: &Request,
        sink: &mut dyn FnMut(Input<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let begin = timer::milliseconds();
        let patience = PATIENCE.saturating_add(u64::from(request.limit) * 1000 / SLOWEST);
        self.connect()?;
        let (server, port) = (self.server, self.port);
        let socket = self.sockets.get_mut::<Socket<'_>>(self.socket);
        let mut fits = true;
        http::ask(request, server, port, &mut |text| {
            fits &= socket.send_slice(text).is_ok_and(|taken| taken == text.len());
        });
        if !fits {
            return Err(TransportFault::Connection.into());
        }
        let mut answer = Answer::to(request);
        let mut heard = timer::milliseconds();
        loop {
            let socket = self.poll();
            if socket.can_recv() {
                let fed = socket.recv(|bytes| (bytes.len(), answer.feed(bytes, sink)));
                if fed.map_err(|_| TransportFault::Connection)?? == Progress::Done {
                    return Ok(());
                }
                heard = timer::milliseconds();
            } else if !socket.may_recv() {
                // Closed, by a last segment or by force; what was promised and did not come is missed there.
                return answer.closed();
            } else {
                timer::pause();
            }
            let now = timer::milliseconds();
            if now.saturating_sub(heard) > SILENCE || now.saturating_sub(begin) > patience {
                return Err(TransportFault::Timeout.into());
            }
        }
    }

    /// Ends the connection: as it should be when all came, and by force else.
    fn part(&mut self, well: bool) {
        let deadline = timer::milliseconds().saturating_add(GOODBYE);
        if well {
            self.sockets.get_mut::<Socket<'_>>(self.socket).close();
            while self.poll().is_active() && timer::milliseconds() < deadline {
                timer::pause();
            }
        }
        self.sockets.get_mut::<Socket<'_>>(self.socket).abort();
        self.poll();
    }
}

impl Transport for Network {
    fn fetch(
        &mut self,
        request: &Request,
        sink: &mut dyn FnMut(Input<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let fetched = self.exchange(request, sink);
        self.part(fetched.is_ok());
        fetched
    }
}

fn now() -> Instant {
    Instant::from_millis(i64::try_from(timer::milliseconds()).unwrap_or(i64::MAX))
}
