//! Whatever publishers and a client do in whatever order, the client gets each record once and in order.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// So many records of so many messages.
    Publish(usize, u32),
    /// Reads what is there.
    Read,
    /// Loses the connection, and comes back on one of the nodes, behind what it has read.
    Resume(bool),
    /// Attaches once more where it is attached, behind what it has read or without a serial.
    Again(bool),
    /// Lets others run.
    Pause(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..20_usize, 1..4_u32).prop_map(|(records, messages)| Step::Publish(records, messages)),
        3 => Just(Step::Read),
        3 => any::<bool>().prop_map(Step::Resume),
        1 => any::<bool>().prop_map(Step::Again),
        3 => (1..30_usize).prop_map(Step::Pause),
    ]
}

/// Reads messages until nothing comes any more; what it has got so far is in `got`.
fn read(reader: &mut Reader, got: &mut Vec<u32>) -> Result<(), TestCaseError> {
    for frame in reader.rest() {
        if let Some(serial) = frame["channelSerial"].as_str() {
            reader.serial = Some(serial.parse().unwrap());
        }
        match frame["action"].as_u64().unwrap() {
            11 => prop_assert!(frame["error"].is_null(), "{frame}"),
            15 => {
                let items = frame["messages"].as_array().unwrap().iter();
                got.extend(items.map(|item| item["data"].as_str().unwrap().parse::<u32>().unwrap()));
            }
            _ => prop_assert!(false, "{frame}"),
        }
    }
    Ok(())
}

async fn run(medium: Medium, ring: usize, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let config = backbone::Config { recoverable_messages: 10_000, ..backbone::Config::default() };
    let world = World::over(&config, fixtures::app()).await;
    let small = Config { ring_messages: ring, ..Config::default() };
    let hubs = [0, 1].map(|_| Hub::new(&small, world.parts(Duration::from_secs(15)), world.stop.child_token()));
    let meter = fixtures::meter(&fixtures::app());
    let mut node = 0;
    let mut reader = Reader::new(&hubs[node], &meter, "r", plain("a", medium));
    let (mut published, mut got) = (0_u32, Vec::new());
    let patience = async {
        while reader.serial.is_none() {
            read(&mut reader, &mut got)?;
            tokio::task::yield_now().await;
        }
        for step in steps {
            match step {
                Step::Publish(records, messages) => {
                    for _ in 0..records {
                        let data: Vec<_> = (0..messages).map(|by| (published + by).to_string()).collect();
                        publish(&world, "a", record(&data.iter().map(String::as_str).collect::<Vec<_>>())).await;
                        published += messages;
                    }
                }
                Step::Read => read(&mut reader, &mut got)?,
                Step::Resume(other) => {
                    let serial = reader.serial;
                    drop(reader);
                    node = if other { 1 - node } else { node };
                    let attach = Attach { from: after(serial), resumed: true, ..plain("a", medium) };
                    reader = Reader::new(&hubs[node], &meter, "r", attach);
                    reader.serial = serial;
                }
                Step::Again(with_serial) => {
                    read(&mut reader, &mut got)?;
                    let from = if with_serial { after(reader.serial) } else { From::Now };
                    reader.subscription().reattach(Attach { from, ..plain("a", medium) });
                }
                Step::Pause(turns) => {
                    for _ in 0..turns {
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
        publish(&world, "a", record(&[&published.to_string()])).await;
        while got.last() != Some(&published) {
            read(&mut reader, &mut got)?;
            tokio::task::yield_now().await;
        }
        Ok::<_, TestCaseError>(())
    };
    tokio::time::timeout(PATIENCE, patience).await.expect("everything in time")?;
    prop_assert_eq!(got, (0..=published).collect::<Vec<_>>());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn each_record_comes_once_and_in_order(
        medium in prop::sample::select(MEDIA.to_vec()),
        ring in prop::sample::select(vec![1_usize, 5, 100]),
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(medium, ring, steps))?;
    }
}
