//! A server that knows one user and one empty directory: enough to log in and to list.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

/// The password that it lets in.
pub(crate) const PASSWORD: &str = "geheim";

/// Listens on a port of its own for as long as the test process lives; returns the port.
pub(crate) fn start() -> u16 {
    start_slow(Duration::ZERO)
}

/// The same, with a greeting that comes late.
pub(crate) fn start_slow(delay: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                thread::sleep(delay);
                serve(stream)
            });
        }
    });
    port
}

fn serve(mut control: TcpStream) -> Option<()> {
    let mut lines = BufReader::new(control.try_clone().ok()?).lines();
    let mut data: Option<TcpListener> = None;
    let mut is_anonymous = false;
    control.write_all(b"220 ready\r\n").ok()?;
    while let Some(Ok(line)) = lines.next() {
        let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
        let reply = match verb.to_ascii_uppercase().as_str() {
            "USER" => {
                is_anonymous = argument == "anonymous";
                "331 password\r\n".to_owned()
            }
            "PASS" if is_anonymous || argument == PASSWORD => "230 welcome\r\n".to_owned(),
            "PASS" => "530 Login incorrect.\r\n".to_owned(),
            "FEAT" => "211-Features\r\n MLST type*;size*;modify*;\r\n MLSD\r\n EPSV\r\n UTF8\r\n211 End\r\n".to_owned(),
            "PWD" => "257 \"/\"\r\n".to_owned(),
            "SYST" => "215 UNIX Type: L8\r\n".to_owned(),
            "TYPE" | "OPTS" | "NOOP" => "200 ok\r\n".to_owned(),
            "CWD" => "250 ok\r\n".to_owned(),
            "MLST" => "250-Listing\r\n type=dir;modify=20260101000000; /\r\n250 End\r\n".to_owned(),
            "EPSV" => {
                let listener = TcpListener::bind("127.0.0.1:0").ok()?;
                let port = listener.local_addr().ok()?.port();
                data = Some(listener);
                format!("229 Entering Extended Passive Mode (|||{port}|)\r\n")
            }
            "MLSD" | "LIST" => {
                // An empty directory: the connection is taken and closed.
                drop(data.take()?.accept().ok()?);
                "150 here\r\n226 done\r\n".to_owned()
            }
            "QUIT" => {
                control.write_all(b"221 bye\r\n").ok()?;
                return Some(());
            }
            _ => "502 not here\r\n".to_owned(),
        };
        control.write_all(reply.as_bytes()).ok()?;
    }
    Some(())
}
