//! An FTP server for one directory on loopback, for the demo and for trying `ftpfs` without a server of one's own.
//!
//! `embedded_server --root DIR [--port N]`: any user is let in with any password, so it must stay on loopback. With port 0, the
//! default, it takes a free one; once it accepts connections it prints `listening on 127.0.0.1:PORT`.

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use libunftp::ServerBuilder;
use unftp_sbe_fs::Filesystem;

/// How often and how long the start is waited for: 200 times 10 ms.
const START_ATTEMPTS_MAX: u32 = 200;
const START_INTERVAL: Duration = Duration::from_millis(10);

/// Serves a directory by FTP on loopback, to any user with any password.
#[derive(Debug, Parser)]
struct Opts {
    /// The directory to serve
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// The port to listen on; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 0)]
    port: u16,
}

#[tokio::main]
async fn main() -> ExitCode {
    match serve(Opts::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "embedded_server: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(opts: Opts) -> Result<(), Box<dyn std::error::Error>> {
    let root = opts
        .root
        .canonicalize()
        .map_err(|e| format!("{}: {e}", opts.root.display()))?;
    Filesystem::new(&root).map_err(|e| format!("{}: {e}", root.display()))?;
    let address = free_address(opts.port)?;

    let storage_root = root.clone();
    let server = ServerBuilder::new(Box::new(move || {
        Filesystem::new(&storage_root).expect("the directory was opened at the start")
    }))
    .greeting("ftpfs embedded server")
    .build()?;

    let announcing = tokio::spawn(announce(address));
    tokio::select! {
        ended = server.listen(address.to_string()) => ended?,
        ended = tokio::signal::ctrl_c() => ended?,
    }
    announcing.abort();
    Ok(())
}

/// The address to listen on: libunftp binds by itself and does not tell which port it took, so 0 is resolved here.
fn free_address(port: u16) -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.local_addr()
}

/// Says where the server listens, once it does.
async fn announce(address: SocketAddr) {
    for _ in 0..START_ATTEMPTS_MAX {
        if TcpStream::connect(address).is_ok() {
            let mut stdout = std::io::stdout();
            // Nobody reads: the server serves all the same.
            let _ = writeln!(stdout, "listening on {address}").and_then(|()| stdout.flush());
            return;
        }
        tokio::time::sleep(START_INTERVAL).await;
    }
}
