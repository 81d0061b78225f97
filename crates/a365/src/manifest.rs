use crate::{Endpoint, ServerName};

/// A configured Work IQ server.
#[derive(Clone, Debug)]
pub struct Server {
    _name: ServerName,
    _endpoint: Endpoint,
}

/// The servers of the tooling manifest.
#[derive(Debug)]
pub struct Servers {
    _private: (),
}
