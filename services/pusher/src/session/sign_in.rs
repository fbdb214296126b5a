//! Signing in: from then on the connection belongs to a user.

use auth::InvalidAuth;
use channels::{App, Operation, SERVER_TO_USER};

use super::complaint::Complaint;
use super::identity::{Arrival, BadData};
use super::{Output, Session};
use crate::frame::{self, SignIn};
use crate::{CloseCode, ErrorCode};

/// Why a sign-in failed. The client is told, and its connection closed: it would otherwise go on as somebody else than
/// it takes itself for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Auth(InvalidAuth),
    /// Shows how the text that should have been signed begins, and never a digest.
    #[error("invalid signature: expected KEY:HEX with the lower-case hex HMAC-SHA256 of {0}::user:: and user_data")]
    Signature(String),
    #[error(transparent)]
    Data(#[from] BadData),
    #[error("the key may not sign in this user: it may not subscribe to the user's channel")]
    MayNotSignIn,
}

impl Session {
    pub(super) fn sign_in(
        &mut self,
        request: &SignIn<'_>,
        app: &App,
        now_ms: u64,
        out: &mut Vec<Output>,
    ) -> Result<(), Complaint> {
        if !app.pusher.user_authentication {
            return Err(Complaint::SignInDisabled);
        }
        let Arrival { user, watchlist, cut } = match self.vouched_for(request, app, now_ms) {
            Ok(arrival) => arrival,
            Err(failure) => {
                self.fail(CloseCode::SignInFailed, &failure.to_string(), out);
                return Ok(());
            }
        };
        if self.user().is_some_and(|known| *known != user.id) {
            return Err(Complaint::OtherUser);
        }
        self.authorized = true;
        out.push(Output::Send(frame::signin_success(&request.user_data)));
        if cut {
            let text = format!("The watchlist has more than {} users, only the first are watched", watchlist.len());
            out.push(Output::Send(frame::error(Some(ErrorCode::WatchlistTooLong.number()), &text)));
        }
        out.push(Output::SignIn { user: user.id.clone(), watchlist });
        self.identity.get_or_insert_default().user = Some(user);
        Ok(())
    }

    fn vouched_for(&self, request: &SignIn<'_>, app: &App, now_ms: u64) -> Result<Arrival, Failure> {
        let socket_id = self.socket_id.as_str();
        let checked = auth::check_user(app, &request.auth, socket_id, &request.user_data, now_ms);
        let key = checked.map_err(|invalid| match invalid {
            InvalidAuth::BadSignature => Failure::Signature(socket_id.to_owned()),
            InvalidAuth::Missing | InvalidAuth::Malformed | InvalidAuth::UnknownKey => Failure::Auth(invalid),
        })?;
        let arrival = Arrival::from_user_data(&request.user_data, app.pusher.watchlist, &app.limits)?;
        // To be a user is to get what is sent to it: a key that may not have that may not make somebody the user.
        let channel = format!("{SERVER_TO_USER}{}", arrival.user.id);
        if !key.capability.permits(&channel, Operation::Subscribe) {
            return Err(Failure::MayNotSignIn);
        }
        Ok(arrival)
    }
}
