//! What has to come: every message once, in order, as it was published. Knows no sockets and no clock.

use super::trouble::Trouble;

/// Messages of an attempt. The first ones are also watched for being repeated, and two could come in the wrong order.
pub(super) const MESSAGES: usize = 3;

/// Behind the number of each message, so that escapes of JSON and letters of several bytes make the trip, too.
const FILLER: &str = "\"quoted\" \\ / é 漢 😀";

/// The messages of one connection, attempt after attempt.
#[derive(Debug)]
pub(super) struct Expected {
    /// In front of every message. Random, so that nobody else's messages on the channel count.
    run: String,
    /// The number of the attempt's first message.
    first: u64,
    /// Whether each of the attempt's messages has come.
    came: [bool; MESSAGES],
    is_reordered: bool,
}

/// What a message was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// One of the attempt's, by its place there.
    Mine(usize),
    /// Somebody else's.
    Foreign,
}

impl Expected {
    /// Nothing is published yet.
    pub(super) fn new(run: u128) -> Self {
        Self { run: format!("canary {run:032x} "), first: 0, came: [true; MESSAGES], is_reordered: false }
    }

    /// Begins an attempt: the texts to publish.
    pub(super) fn begin(&mut self) -> [String; MESSAGES] {
        self.first += MESSAGES as u64;
        (self.came, self.is_reordered) = ([false; MESSAGES], false);
        std::array::from_fn(|place| self.text(place))
    }

    /// Takes what came on the connection.
    ///
    /// # Errors
    /// It came before, or is not what was published. What is out of order is told at the end: until then the message in
    /// between may be lost as well.
    pub(super) fn take(&mut self, text: &str) -> Result<Taken, Trouble> {
        let Some(rest) = text.strip_prefix(&self.run) else { return Ok(Taken::Foreign) };
        let altered = || Trouble::Altered(format!("{text:?} came, which nobody published"));
        let number: u64 = rest.split(' ').next().and_then(|number| number.parse().ok()).ok_or_else(altered)?;
        if number < self.first {
            return Err(Trouble::Repeated(format!("message {number} of an earlier attempt came again")));
        }
        let place = usize::try_from(number - self.first).ok().filter(|place| *place < MESSAGES).ok_or_else(altered)?;
        if text != self.text(place) {
            return Err(altered());
        }
        if self.came[place] {
            return Err(Trouble::Repeated(format!("message {} of {MESSAGES} came again", place + 1)));
        }
        self.is_reordered |= self.came[place..].contains(&true) || self.came[..place].contains(&false);
        self.came[place] = true;
        Ok(Taken::Mine(place))
    }

    /// Whether the attempt's messages have all come.
    pub(super) fn is_complete(&self) -> bool {
        self.came == [true; MESSAGES]
    }

    /// What there is to say of messages that have all come.
    pub(super) fn verdict(&self) -> Result<(), Trouble> {
        if self.is_reordered {
            return Err(Trouble::Reordered("messages came in another order than they were published in".to_owned()));
        }
        Ok(())
    }

    /// What there is to say of those that have not come in time.
    pub(super) fn lost(&self) -> Trouble {
        let lost = self.came.iter().filter(|came| !**came).count();
        Trouble::Lost(format!("{lost} of {MESSAGES} messages did not come"))
    }

    fn text(&self, place: usize) -> String {
        format!("{}{} {FILLER}", self.run, self.first + place as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun() -> (Expected, [String; MESSAGES]) {
        let mut expected = Expected::new(7);
        let texts = expected.begin();
        (expected, texts)
    }

    #[test]
    fn in_order_and_once_is_good() {
        let mut expected = Expected::new(7);
        for _ in 0..2 {
            let texts = expected.begin();
            for (place, text) in texts.iter().enumerate() {
                assert!(!expected.is_complete());
                assert_eq!(expected.take(text), Ok(Taken::Mine(place)));
                assert_eq!(expected.take("of somebody else"), Ok(Taken::Foreign));
            }
            assert!(expected.is_complete());
            assert_eq!(expected.verdict(), Ok(()));
        }
    }

    #[test]
    fn another_canary_is_foreign() {
        let (mut expected, _) = begun();
        let others = Expected::new(8).begin();
        assert_eq!(expected.take(&others[0]), Ok(Taken::Foreign));
    }

    #[test]
    fn the_wrong_order_is_told_when_nothing_is_missing() {
        for order in [[1, 0, 2], [0, 2, 1], [2, 1, 0], [1, 2, 0]] {
            let (mut expected, texts) = begun();
            for place in order {
                assert_eq!(expected.take(&texts[place]), Ok(Taken::Mine(place)));
            }
            assert!(expected.is_complete());
            assert_eq!(expected.verdict().unwrap_err().result(), "reordered", "{order:?}");
        }
    }

    #[test]
    fn what_is_missing_is_counted() {
        let (mut expected, texts) = begun();
        assert_eq!(expected.take(&texts[0]), Ok(Taken::Mine(0)));
        assert_eq!(expected.take(&texts[2]), Ok(Taken::Mine(2)));
        assert!(!expected.is_complete());
        assert_eq!(expected.lost(), Trouble::Lost("1 of 3 messages did not come".to_owned()));
    }

    #[test]
    fn what_comes_again_is_told_at_once_and_in_the_next_attempt() {
        let (mut expected, texts) = begun();
        for text in &texts {
            assert!(expected.take(text).is_ok());
        }
        assert_eq!(expected.take(&texts[2]).unwrap_err().result(), "repeated");
        expected.begin();
        assert_eq!(expected.take(&texts[2]).unwrap_err().result(), "repeated");
    }

    #[test]
    fn a_changed_message_is_told() {
        let (mut expected, texts) = begun();
        let beyond = texts[0].replacen(" 3 ", " 6 ", 1);
        for text in [&texts[0].replace("漢", "?"), &texts[0].replace(" 3 ", " x "), &beyond] {
            assert_eq!(expected.take(text).unwrap_err().result(), "altered", "{text}");
        }
    }
}
