//! What suppaftp holds in its hands: streams whose control half leads to the transport, and whose data half is the data
//! connection itself.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use suppaftp::{FtpError, FtpResult, TlsConnector, TlsStream};

use super::{Shared, Transport, lock};
use crate::ftp::data::DataSocket;

/// A connection as suppaftp holds it.
#[derive(Debug)]
pub(in crate::ftp) enum Wire {
    /// The control connection; the socket is there for its addresses.
    Control(Shared, Arc<TcpStream>),
    /// A data connection: straight through.
    Data(DataSocket),
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Data(data) => data.read(buffer),
            Self::Control(shared, _) => {
                let mut transport = lock(shared);
                if let Err(fault) = transport.read_for_client() {
                    return Err(transport.note(fault));
                }
                transport.for_client.read(buffer)
            }
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Data(data) => data.write(bytes),
            Self::Control(shared, _) => {
                let mut transport = lock(shared);
                let line = bytes.strip_suffix(b"\r\n").ok_or_else(|| {
                    io::Error::new(io::ErrorKind::InvalidInput, "not a whole command line")
                })?;
                match transport.send_for_client(line) {
                    Ok(()) => Ok(bytes.len()),
                    Err(fault) => Err(transport.note(fault)),
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TlsStream for Wire {
    type InnerStream = Self;

    fn tcp_stream(self) -> FtpResult<TcpStream> {
        match self {
            Self::Data(data) => data.socket().try_clone(),
            Self::Control(_, socket) => socket.try_clone(),
        }
        .map_err(FtpError::ConnectionError)
    }

    fn get_ref(&self) -> &TcpStream {
        match self {
            Self::Data(data) => data.socket(),
            Self::Control(_, socket) => socket,
        }
    }

    fn mut_ref(&mut self) -> &mut Self {
        self
    }
}

/// Makes suppaftp's streams: the first is the control connection, every other one a data connection.
#[derive(Debug)]
pub(in crate::ftp) struct Connector {
    control: Mutex<Option<Wire>>,
    shared: Weak<Mutex<Transport>>,
}

impl Connector {
    /// A connector for this session.
    pub(in crate::ftp) fn new(shared: &Shared) -> Self {
        let socket = Arc::clone(lock(shared).control.socket());
        Self {
            control: Mutex::new(Some(Wire::Control(Arc::clone(shared), socket))),
            shared: Arc::downgrade(shared),
        }
    }
}

impl TlsConnector for Connector {
    type Stream = Wire;

    fn connect(&self, _: &str, socket: TcpStream) -> FtpResult<Wire> {
        let control = self
            .control
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(control) = control {
            return Ok(control);
        }
        let shared = self.shared.upgrade().ok_or(io::ErrorKind::NotConnected);
        let data = shared.map_err(io::Error::from).and_then(|shared| {
            let mut transport = lock(&shared);
            // What suppaftp was handed in active mode only stands in for it.
            let socket = transport.accepted.take().unwrap_or(socket);
            transport.protect(socket)
        });
        data.map(Wire::Data).map_err(FtpError::ConnectionError)
    }
}

/// What suppaftp calls to get a data connection after an EPSV.
pub(in crate::ftp) fn data_source(
    shared: &Shared,
) -> impl Fn(std::net::SocketAddr) -> FtpResult<TcpStream> + Send + Sync + 'static {
    let shared = Arc::downgrade(shared);
    move |_| {
        let shared = shared.upgrade().ok_or(io::ErrorKind::NotConnected);
        shared
            .and_then(|shared| lock(&shared).hand_over_data().map_err(|error| error.kind()))
            .map_err(|kind| FtpError::ConnectionError(kind.into()))
    }
}
