//! QEMU's control channel (QEMU Machine Protocol): why a machine stopped, and orders like plugging a disk in.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// QEMU answers orders at once.
const DEADLINE: Duration = Duration::from_secs(20);

/// The socket that one machine will connect to; made before QEMU starts, so that no retry is needed.
#[derive(Debug)]
pub struct Line {
    listener: UnixListener,
    name: String,
}

impl Line {
    /// Listens under a name in the abstract socket namespace.
    ///
    /// # Errors
    /// The kernel refuses the socket.
    pub fn listen() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hermetic-vm-{}-{number}", std::process::id());
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)
            .context("cannot listen for QEMU's control channel")?;
        Ok(Self { listener, name })
    }

    /// QEMU's arguments that make it call.
    #[must_use]
    pub fn arguments(&self) -> [String; 4] {
        [
            "-chardev".to_owned(),
            format!("socket,id=control,path={},abstract=on", self.name),
            "-mon".to_owned(),
            "chardev=control,mode=control".to_owned(),
        ]
    }

    /// Answers the call in a separate thread, which ends with QEMU. A QEMU that cannot even start never calls:
    /// [`Qmp::hang_up`] ends the wait.
    #[must_use]
    pub fn answer(self) -> Qmp {
        let (sender, messages) = channel();
        let name = self.name.clone();
        std::thread::spawn(move || {
            let Ok((stream, _)) = self.listener.accept() else { return };
            let Ok(reader) = stream.try_clone() else { return };
            if sender.send(Message::Called(stream)).is_err() {
                return;
            }
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                let Ok(value) = serde_json::from_str(&line) else { continue };
                if sender.send(Message::Said(value)).is_err() {
                    return;
                }
            }
        });
        Qmp { messages, stream: None, name, reason: None }
    }
}

#[derive(Debug)]
enum Message {
    Called(UnixStream),
    Said(Value),
}

/// The control channel of a running machine.
#[derive(Debug)]
pub struct Qmp {
    messages: Receiver<Message>,
    stream: Option<UnixStream>,
    name: String,
    reason: Option<String>,
}

impl Qmp {
    /// Waits until QEMU has called and shakes hands.
    ///
    /// # Errors
    /// QEMU does not call.
    pub fn connect(&mut self) -> Result<()> {
        let Ok(Message::Called(stream)) = self.messages.recv_timeout(DEADLINE) else {
            bail!("QEMU does not open its control channel");
        };
        self.stream = Some(stream);
        self.execute("qmp_capabilities", &json!({})).map(drop)
    }

    /// Gives an order and returns its result.
    ///
    /// # Errors
    /// QEMU is gone or refuses.
    pub fn execute(&mut self, order: &str, arguments: &Value) -> Result<Value> {
        self.execute_within(order, arguments, DEADLINE)
    }

    /// As [`Qmp::execute`], for an order that takes its time.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn execute_within(&mut self, order: &str, arguments: &Value, deadline: Duration) -> Result<Value> {
        let stream = self.stream.as_mut().context("QEMU's control channel is not open")?;
        writeln!(stream, "{}", json!({ "execute": order, "arguments": arguments }))
            .with_context(|| format!("cannot give QEMU the order {order}"))?;
        loop {
            let Ok(message) = self.messages.recv_timeout(deadline) else {
                bail!("QEMU does not answer the order {order}");
            };
            let Message::Said(value) = message else { continue };
            if let Some(result) = value.get("return") {
                return Ok(result.clone());
            }
            if let Some(error) = value.get("error") {
                bail!("QEMU refuses the order {order}: {error}");
            }
            self.note(&value);
        }
    }

    /// Waits until the machine has switched itself off. QEMU itself goes on by an option (`-action shutdown=pause`),
    /// and the memory is as it was at that moment.
    ///
    /// # Errors
    /// It did not within that time.
    pub fn switched_off(&mut self, deadline: Duration) -> Result<()> {
        let end = Instant::now() + deadline;
        while self.reason.is_none() {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(message) = self.messages.recv_timeout(left) else {
                bail!("the machine has not switched itself off within {} s", deadline.as_secs());
            };
            if let Message::Said(value) = message {
                self.note(&value);
            }
        }
        Ok(())
    }

    /// The reason why the machine stopped (`guest-shutdown`, `guest-reset`, `host-signal` …), when QEMU has ended.
    pub fn reason(&mut self) -> Option<String> {
        while let Ok(message) = self.messages.recv_timeout(DEADLINE) {
            if let Message::Said(value) = message {
                self.note(&value);
            }
        }
        self.reason.clone()
    }

    fn note(&mut self, value: &Value) {
        if value.get("event").and_then(Value::as_str) == Some("SHUTDOWN") {
            let reason = value.pointer("/data/reason").and_then(Value::as_str);
            self.reason = reason.map(str::to_owned);
        }
    }

    /// Ends the wait of a line that was not connected to.
    pub fn hang_up(&self) {
        if self.stream.is_none()
            && let Ok(address) = SocketAddr::from_abstract_name(&self.name)
        {
            // If QEMU did connect, the listener is gone: that is as good.
            let _ = UnixStream::connect_addr(&address);
        }
    }
}
