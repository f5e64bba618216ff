//! Who makes a data connection, and where it goes.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Mutex,
};

use super::{
    server::{Client, Handled, ScriptedServer, content, eventually},
    *,
};
use crate::{config::ActiveConfig, remote::Phase};

fn active_config(port: u16) -> FtpConfig {
    FtpConfig {
        network: NetworkConfig {
            active: Some(ActiveConfig::default()),
            ..NetworkConfig::default()
        },
        ..config(port)
    }
}

/// Where an EPRT or PORT says that the client listens.
fn told(line: &str) -> SocketAddr {
    if let Some(fields) = line.strip_prefix("PORT ") {
        let fields: Vec<u8> = fields.split(',').map(|n| n.parse().unwrap()).collect();
        let port = u16::from_be_bytes([fields[4], fields[5]]);
        return ([fields[0], fields[1], fields[2], fields[3]], port).into();
    }
    let fields: Vec<_> = line.split('|').collect();
    (
        fields[2].parse::<std::net::IpAddr>().unwrap(),
        fields[3].parse().unwrap(),
    )
        .into()
}

/// A server that makes the data connections; `refuses` names a command that it does not know.
fn inward(refuses: &'static str) -> ScriptedServer {
    let place = Mutex::new(None);
    ScriptedServer::start(move |client, line| {
        let verb = line.split(' ').next().unwrap_or_default();
        if verb == refuses {
            client.say("500 what?");
            return Handled::Yes;
        }
        let connect = || TcpStream::connect(place.lock().unwrap().take().unwrap()).unwrap();
        match verb {
            "EPRT" | "PORT" => {
                *place.lock().unwrap() = Some(told(line));
                client.say("200 ok");
            }
            "MLSD" => {
                client.say("150 here it comes");
                connect().write_all(b"type=file;size=5; a\r\n").unwrap();
                client.say("226 done");
            }
            "RETR" => {
                let mut data = connect();
                client.say("150 here it comes");
                let rest = std::mem::take(&mut client.rest);
                let _ = data.write_all(&content()[rest..]);
                drop(data);
                client.say("226 done");
            }
            "STOR" => {
                let mut data = connect();
                client.say("150 go on");
                let mut uploaded = Vec::new();
                data.read_to_end(&mut uploaded).unwrap();
                client.keep(uploaded);
                client.say("226 stored");
            }
            _ => return Handled::No,
        }
        Handled::Yes
    })
}

fn use_everything(server: &ScriptedServer, config: &FtpConfig) -> Vec<String> {
    let remote = FtpRemote::connect(config).unwrap();
    for _ in 0..2 {
        assert_eq!(remote.list(&path("d")).unwrap().entries.len(), 1);
        let mut download = remote.open_download(&path("f"), 4, None).unwrap();
        assert_eq!(read_all(&mut *download).unwrap(), content()[4..]);
        drop(download);
        let settled = remote.put(made(&path("f")), b"small", &Attributes::default());
        settled.unwrap();
        assert_eq!(server.uploaded(), b"small");
        eventually(|| remote.pool.is_idle());
    }
    server.take_batches()
}

/// The write with the last of these commands, the port in it left out.
fn last_with(batches: &[String], verb: &str) -> String {
    let batch = batches.iter().rfind(|batch| batch.contains(verb)).unwrap();
    let parts = batch.split(" | ").map(|part| match part.split_once(' ') {
        Some((verb @ ("EPRT" | "PORT"), _)) => verb.to_owned(),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join(" | ")
}

// SEMANTICS: S-active, S-tenet-round-trip
#[test]
fn active_mode_tells_its_port_in_the_write_that_needs_it() {
    let server = inward("");
    let batches = use_everything(&server, &active_config(server.port()));
    assert_eq!(last_with(&batches, "MLSD"), "CWD /d | EPRT | MLSD");
    assert_eq!(last_with(&batches, "RETR"), "EPRT | REST 4 | RETR /f");
    assert_eq!(last_with(&batches, "STOR"), "EPRT | STOR /f");
    assert!(!batches.iter().any(|batch| batch.contains("EPSV")));
}

// SEMANTICS: S-active
#[test]
fn a_server_without_eprt_gets_port_from_then_on() {
    let server = inward("EPRT");
    let batches = use_everything(&server, &active_config(server.port()));
    let count = batches
        .iter()
        .filter(|batch| batch.contains("EPRT"))
        .count();
    assert_eq!(count, 1, "{batches:?}");
    assert_eq!(last_with(&batches, "MLSD"), "CWD /d | PORT | MLSD");
}

// SEMANTICS: S-active
#[test]
fn a_refusal_behind_the_150_is_heard_at_once() {
    let server = ScriptedServer::start(|client, line| {
        if line.starts_with("EPRT") {
            client.say("200 ok");
        } else if line.starts_with("RETR") {
            client.say("150 let me try\r\n425 no way");
        } else {
            return Handled::No;
        }
        Handled::Yes
    });
    let remote = FtpRemote::connect(&active_config(server.port())).unwrap();
    let started = std::time::Instant::now();
    let error = remote.open_download(&path("f"), 0, None).unwrap_err();
    assert_eq!(error.kind(), RemoteErrorKind::Disconnected, "{error}");
    // The timeout is 5 s.
    assert!(started.elapsed() < Duration::from_secs(4));
}

// SEMANTICS: S-active, S-tenet-deadline
#[test]
fn a_server_that_does_not_come_is_told_with_the_remedy() {
    let server = ScriptedServer::start(|client, line| {
        if line.starts_with("EPRT") {
            client.say("200 ok");
        } else if line.starts_with("RETR") {
            client.say("150 in a minute");
        } else {
            return Handled::No;
        }
        Handled::Yes
    });
    let config = FtpConfig {
        timeout: Duration::from_millis(300),
        ..active_config(server.port())
    };
    let remote = FtpRemote::connect(&config).unwrap();
    let error = remote.open_download(&path("f"), 0, None).unwrap_err();
    assert_eq!(error.kind(), RemoteErrorKind::TimedOut(Phase::Connect));
    assert!(error.to_string().contains("--active-address"), "{error}");
}

/// A server whose files are sent by another machine, which PASV names.
fn farm() -> ScriptedServer {
    let listener = Mutex::new(None);
    ScriptedServer::start(move |client: &mut Client, line| {
        match line {
            "PASV" => {
                let other = TcpListener::bind("127.0.0.3:0").unwrap();
                let [high, low] = other.local_addr().unwrap().port().to_be_bytes();
                *listener.lock().unwrap() = Some(other);
                client.say(&format!("227 ok (127,0,0,3,{high},{low})"));
            }
            "EPSV" => client.say("500 what?"),
            "MLSD" => {
                client.say("150 here it comes");
                let listener = listener.lock().unwrap().take().unwrap();
                listener.set_nonblocking(false).unwrap();
                let (mut data, _) = listener.accept().unwrap();
                data.write_all(b"type=file;size=5; a\r\n").unwrap();
                client.say("226 done");
            }
            _ => return Handled::No,
        }
        Handled::Yes
    })
}

// SEMANTICS: S-passive-address
#[test]
fn data_comes_from_another_machine_only_where_that_is_trusted() {
    let server = farm();
    let trusting = FtpConfig {
        network: NetworkConfig {
            trusts_pasv_address: true,
            ..NetworkConfig::default()
        },
        // That server has one listener for all.
        connections_max: 1,
        ..config(server.port())
    };
    let remote = FtpRemote::connect(&trusting).unwrap();
    assert_eq!(remote.list(&RemotePath::root()).unwrap().entries.len(), 1);
    let batches = server.take_batches();
    assert!(
        !batches.iter().any(|batch| batch.contains("EPSV")),
        "{batches:?}"
    );

    // Nobody listens at that port where the commands go.
    let server = farm();
    let config = FtpConfig {
        timeout: Duration::from_millis(500),
        ..config(server.port())
    };
    let remote = FtpRemote::connect(&config).unwrap();
    remote.list(&RemotePath::root()).unwrap_err();
}
