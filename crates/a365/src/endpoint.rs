use entrabot_identity::Resource;

/// The hosts a token may go to: Work IQ's own, and the operator's base.
#[derive(Clone, Debug)]
pub struct EgressAllowlist {
    _private: (),
}

/// A Work IQ server's address and the resource its tokens are for. Only [`EgressAllowlist`] can make one.
#[derive(Clone, Debug)]
pub struct Endpoint {
    _url: url::Url,
    _resource: Resource,
}
