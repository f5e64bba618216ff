//! Carries IP packets between two network namespaces over a link that has latency, a rate, a queue and loss.
//!
//! The kernel's own netem is missing on many machines; a TUN device in each namespace and this program do the same, with
//! TCP's real handshakes, slow start and recovery. One thread a direction (`direction.rs`); this file reads the command
//! line and makes the devices.

mod direction;

use std::{
    env,
    ffi::CString,
    fs::File,
    io::{self, Write},
    os::fd::{AsRawFd, OwnedFd},
    process::ExitCode,
    sync::Arc,
    thread,
    time::Duration,
};

use direction::{Direction, Link};

const USAGE: &str = "\
Usage: slowlink [OPTION VALUE]... NAMESPACE NAMESPACE
Makes a TUN device in each of two network namespaces (made with 'ip netns add') and carries packets between them until
it or its parent ends. Prints 'ready' when both devices are there; giving them addresses and setting them up is the caller's.
  --rtt MILLISECONDS   round trip time, half of it each way (20)
  --rate MBIT          megabits a second, each way (200)
  --queue BYTES        what waits for the link before packets are dropped (rtt x rate, at least 256 KiB)
  --loss PERCENT       packets lost at random, each way (0)
  --seed NUMBER        of the random losses (1)
  --device NAME        what the devices are called (slow0)";

/// The least that the queue takes by default: a home router's.
const QUEUE_BYTES_MIN: f64 = 256.0 * 1024.0;

struct Options {
    link: Link,
    device: String,
    namespaces: [String; 2],
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let options = match parse(&args) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("slowlink: {message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("slowlink: {error} (needs root, /dev/net/tun and both namespaces)");
            ExitCode::FAILURE
        }
    }
}

fn parse(args: &[String]) -> Result<Options, String> {
    let (mut rtt, mut rate, mut loss) = (20.0, 200.0, 0.0);
    let (mut queue, mut seed) = (None, 1.0);
    let mut device = "slow0".to_owned();
    let mut names = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if !arg.starts_with("--") {
            names.push(arg.clone());
            continue;
        }
        let value = args.next().ok_or(format!("{arg} needs a value"))?;
        let number = || match value.parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
            _ => Err(format!("{arg}: '{value}' is no number")),
        };
        match arg.as_str() {
            "--rtt" => rtt = number()?,
            "--rate" => rate = number()?,
            "--loss" => loss = number()?,
            "--queue" => queue = Some(number()?),
            "--seed" => seed = number()?,
            "--device" => device.clone_from(value),
            _ => return Err(format!("unknown option {arg}")),
        }
    }
    let namespaces = names
        .try_into()
        .map_err(|_| "two namespaces are wanted".to_owned())?;
    if rate <= 0.0 {
        return Err("--rate must be more than 0".to_owned());
    }
    let bytes_per_second = rate * 1e6 / 8.0;
    Ok(Options {
        link: Link {
            delay: Duration::from_secs_f64(rtt / 2000.0),
            bytes_per_second,
            queue_bytes_max: queue
                .unwrap_or_else(|| (rtt / 1000.0 * bytes_per_second).max(QUEUE_BYTES_MIN)),
            loss: loss / 100.0,
            seed: seed.to_bits(),
        },
        device,
        namespaces,
    })
}

fn run(options: &Options) -> io::Result<std::convert::Infallible> {
    end_with_parent()?;
    let [left, right] = &options.namespaces;
    let left = Arc::new(make_device(left, &options.device)?);
    let right = Arc::new(make_device(right, &options.device)?);
    let there = Direction::new(Arc::clone(&left), Arc::clone(&right), options.link);
    let mut other = options.link;
    other.seed = !other.seed;
    let back = Direction::new(right, left, other);
    println!("ready");
    io::stdout().flush()?;
    thread::scope(|scope| {
        let there = scope.spawn(|| there.carry());
        let back = back.carry();
        there.join().unwrap_or(back)
    })
}

fn end_with_parent() -> io::Result<()> {
    // SAFETY: this prctl takes no pointer.
    let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: getppid has no preconditions.
    if unsafe { libc::getppid() } == 1 {
        return Err(io::Error::other("the parent has ended already"));
    }
    Ok(())
}

/// A TUN device in a namespace. The thread that makes it stays in that namespace, so it is one of its own.
fn make_device(namespace: &str, device: &str) -> io::Result<OwnedFd> {
    thread::scope(|scope| {
        let maker = scope.spawn(|| {
            let named = |what: &str, error: io::Error| {
                io::Error::new(error.kind(), format!("{what}: {error}"))
            };
            let path = format!("/var/run/netns/{namespace}");
            let entered = File::open(&path).map_err(|error| named(&path, error))?;
            // SAFETY: setns takes no pointer, and the descriptor is open.
            if unsafe { libc::setns(entered.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                return Err(named(&path, io::Error::last_os_error()));
            }
            open_tun(device).map_err(|error| named("/dev/net/tun", error))
        });
        maker
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("panic")))
    })
}

fn open_tun(device: &str) -> io::Result<OwnedFd> {
    let name = CString::new(device)?;
    let file = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
    // SAFETY: an ifreq is plain numbers and bytes, for which zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().take(room).zip(name.as_bytes()) {
        *to = from.cast_signed();
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(flags).map_err(|_| io::Error::other("flags"))?;
    // SAFETY: TUNSETIFF reads and writes one ifreq at the address given, which is `request`'s.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fcntl with F_SETFL takes no pointer, and the descriptor is open.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file.into())
}
