//! Who a client may act as.

use channels::ClientId;

use crate::{Code, ErrorInfo};

/// Who the holder of a key or token may act as, and hence whose name its messages bear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nobody: a token without a clientId. It may not claim one.
    Anonymous,
    /// Anybody it says it is: a key, or a token with the clientId `*`.
    Any,
    /// One client.
    Is(ClientId),
}

impl Identity {
    /// What a token's clientId makes of its holder.
    pub fn of_token(client_id: Option<&str>) -> Result<Self, ErrorInfo> {
        match client_id {
            None => Ok(Self::Anonymous),
            Some("*") => Ok(Self::Any),
            Some(id) => named(id).map(Self::Is),
        }
    }

    /// What it becomes where it says once and for all who it is: by the query of a connection, or a request's header.
    ///
    /// 40012 if that is no clientId, 40102 if it may not be that client.
    pub fn connecting_as(self, client_id: Option<&str>) -> Result<Self, ErrorInfo> {
        let Some(id) = client_id.filter(|id| !id.is_empty()) else { return Ok(self) };
        if id == "*" {
            return Err(Code::ClientId.says("a connection cannot be for the clientId *"));
        }
        let id = named(id)?;
        match &self {
            Self::Any => Ok(Self::Is(id)),
            Self::Is(own) if *own == id => Ok(self),
            Self::Is(_) | Self::Anonymous => Err(Code::Incompatible.says("the clientId is not that of the token")),
        }
    }

    /// Whose name something bears that says it is from `explicit`: that one if it may be, its own if it says nothing.
    ///
    /// 40012 if it may not.
    pub fn acting_as(&self, explicit: Option<&str>) -> Result<Option<ClientId>, ErrorInfo> {
        match (self, explicit) {
            (Self::Is(own), None) => Ok(Some(own.clone())),
            (Self::Is(own), Some(id)) if own.as_str() == id => Ok(Some(own.clone())),
            (Self::Anonymous | Self::Any, None) => Ok(None),
            (Self::Any, Some(id)) if id != "*" => named(id).map(Some),
            (Self::Any | Self::Is(_) | Self::Anonymous, Some(_)) => {
                Err(Code::ClientId.says("the credentials do not permit this clientId"))
            }
        }
    }

    /// The clientId that a connection is told it has: `*` for anybody.
    pub fn shown(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::Any => Some("*"),
            Self::Is(id) => Some(id.as_str()),
        }
    }
}

fn named(id: &str) -> Result<ClientId, ErrorInfo> {
    ClientId::new(id).map_err(|invalid| Code::ClientId.says(invalid.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bob() -> ClientId {
        ClientId::new("bob").unwrap()
    }

    #[test]
    fn who_may_act_as_whom() {
        let code = |identity: &Identity, id| identity.acting_as(id).map_err(|error| error.code);
        let (nobody, anybody, one) = (Identity::Anonymous, Identity::Any, Identity::Is(bob()));
        assert_eq!(code(&nobody, None), Ok(None));
        assert_eq!(code(&nobody, Some("bob")), Err(40012));
        assert_eq!(code(&anybody, None), Ok(None));
        assert_eq!(code(&anybody, Some("bob")), Ok(Some(bob())));
        assert_eq!(code(&anybody, Some("*")), Err(40012));
        assert_eq!(code(&anybody, Some("")), Err(40012));
        assert_eq!(code(&one, None), Ok(Some(bob())));
        assert_eq!(code(&one, Some("bob")), Ok(Some(bob())));
        assert_eq!(code(&one, Some("eve")), Err(40012));
        assert_eq!(one.shown(), Some("bob"));
        assert_eq!(anybody.shown(), Some("*"));
        assert_eq!(nobody.shown(), None);
    }

    #[test]
    fn who_may_connect_as_whom() {
        let code = |identity: Identity, id| identity.connecting_as(id).map_err(|error| error.code);
        assert_eq!(code(Identity::Any, Some("bob")), Ok(Identity::Is(bob())));
        assert_eq!(code(Identity::Any, Some("*")), Err(40012));
        assert_eq!(code(Identity::Any, None), Ok(Identity::Any));
        assert_eq!(code(Identity::Is(bob()), Some("bob")), Ok(Identity::Is(bob())));
        assert_eq!(code(Identity::Is(bob()), Some("eve")), Err(40102));
        assert_eq!(code(Identity::Anonymous, Some("bob")), Err(40102));
        assert_eq!(Identity::of_token(Some("*")), Ok(Identity::Any));
        assert_eq!(Identity::of_token(Some("bob")), Ok(Identity::Is(bob())));
        assert_eq!(Identity::of_token(None), Ok(Identity::Anonymous));
    }
}
