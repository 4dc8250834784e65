//! A disk behind a network block device server of our own: it serves an image, and from one request on it answers nothing any
//! more, as a disk with a broken cable or a dead controller does.
//!
//! Format: doc/proto.md of the NBD project, newstyle negotiation with `NBD_OPT_EXPORT_NAME` and `NBD_OPT_GO`.

use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::io::{Error, Read, Result as IoResult, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

const NEWSTYLE: &[u8; 16] = b"NBDMAGICIHAVEOPT";
/// `NBD_FLAG_FIXED_NEWSTYLE`, `NBD_FLAG_NO_ZEROES`.
const HANDSHAKE: u16 = 1 | 2;
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;
/// `NBD_FLAG_HAS_FLAGS`, `NBD_FLAG_SEND_FLUSH`.
const TRANSMISSION: u16 = 1 | 4;

const EXPORT_NAME: u32 = 1;
const ABORT: u32 = 2;
const INFO: u32 = 6;
const GO: u32 = 7;
const ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const UNSUPPORTED: u32 = 0x8000_0001;

const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;

/// The server of one image for one machine. The connection ends with this value.
#[derive(Debug)]
pub struct Server {
    socket: PathBuf,
    connections: Receiver<UnixStream>,
}

impl Server {
    /// Serves an image on this socket, up to the first read that touches the bytes `dead`: this one and all later requests are
    /// never answered.
    ///
    /// # Errors
    /// The image or the socket cannot be opened.
    pub fn start(image: &Path, socket: &Path, dead: Range<u64>) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(image);
        let file = file.with_context(|| format!("cannot serve {}", image.display()))?;
        let length = file.metadata()?.len();
        let listener =
            UnixListener::bind(socket).with_context(|| format!("cannot listen at {}", socket.display()))?;
        let (sender, connections) = channel();
        std::thread::spawn(move || {
            let Ok((stream, _)) = listener.accept() else { return };
            let Ok(handle) = stream.try_clone() else { return };
            if sender.send(handle).is_ok() {
                // QEMU reports a connection that ended.
                let _ = serve(stream, &file, length, &dead);
            }
        });
        Ok(Self { socket: socket.to_owned(), connections })
    }

    /// QEMU's arguments for it: a virtio disk.
    #[must_use]
    pub fn arguments(&self) -> [String; 4] {
        let socket = self.socket.display();
        [
            "-blockdev".to_owned(),
            format!("driver=nbd,node-name=remote,server.type=unix,server.path={socket}"),
            "-device".to_owned(),
            "virtio-blk-pci,drive=remote".to_owned(),
        ]
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // QEMU waits at its own end for requests that are under way: they fail now.
        if let Ok(stream) = self.connections.try_recv() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        // Its name is free for the next one.
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn serve(mut stream: UnixStream, file: &File, length: u64, dead: &Range<u64>) -> IoResult<()> {
    stream.write_all(NEWSTYLE)?;
    stream.write_all(&HANDSHAKE.to_be_bytes())?;
    let _flags = number::<4>(&mut stream)?;
    loop {
        let _magic = number::<8>(&mut stream)?;
        let option = number::<4>(&mut stream)? as u32;
        let mut data = vec![0; number::<4>(&mut stream)? as usize];
        stream.read_exact(&mut data)?;
        match option {
            EXPORT_NAME => {
                stream.write_all(&length.to_be_bytes())?;
                stream.write_all(&TRANSMISSION.to_be_bytes())?;
                break;
            }
            INFO | GO => {
                // NBD_INFO_EXPORT.
                let info = [&[0, 0][..], &length.to_be_bytes(), &TRANSMISSION.to_be_bytes()].concat();
                answer(&mut stream, option, REPLY_INFO, &info)?;
                answer(&mut stream, option, ACK, &[])?;
                if option == GO {
                    break;
                }
            }
            ABORT => return answer(&mut stream, option, ACK, &[]),
            _ => answer(&mut stream, option, UNSUPPORTED, &[])?,
        }
    }
    let mut is_dead = false;
    loop {
        if number::<4>(&mut stream)? as u32 != REQUEST {
            return Err(Error::other("no request"));
        }
        let _flags = number::<2>(&mut stream)?;
        let kind = number::<2>(&mut stream)? as u16;
        let mut handle = [0; 8];
        stream.read_exact(&mut handle)?;
        let offset = number::<8>(&mut stream)?;
        let count = number::<4>(&mut stream)?;
        let mut data = vec![0; if matches!(kind, READ | WRITE) { count as usize } else { 0 }];
        if kind == WRITE {
            stream.read_exact(&mut data)?;
        }
        is_dead |= kind == READ && offset < dead.end && dead.start < offset.saturating_add(count);
        if is_dead {
            continue;
        }
        match kind {
            READ => file.read_exact_at(&mut data, offset)?,
            WRITE => file.write_all_at(&data, offset)?,
            // The image need not outlive the host.
            FLUSH => {}
            DISCONNECT => return Ok(()),
            _ => return Err(Error::other("a command that was not offered")),
        }
        let reply = [&REPLY.to_be_bytes()[..], &[0; 4], &handle].concat();
        stream.write_all(&reply)?;
        if kind == READ {
            stream.write_all(&data)?;
        }
    }
}

/// A number of so many bytes; the network's order.
fn number<const BYTES: usize>(stream: &mut impl Read) -> IoResult<u64> {
    let mut bytes = [0; BYTES];
    stream.read_exact(&mut bytes)?;
    Ok(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn answer(stream: &mut impl Write, option: u32, kind: u32, data: &[u8]) -> IoResult<()> {
    stream.write_all(&OPTION_REPLY.to_be_bytes())?;
    stream.write_all(&option.to_be_bytes())?;
    stream.write_all(&kind.to_be_bytes())?;
    stream.write_all(&u32::try_from(data.len()).map_err(Error::other)?.to_be_bytes())?;
    stream.write_all(data)
}
