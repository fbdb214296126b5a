//! The forms in which answers are printed.

use proto::control as wire;
use serde_json::{Value, json};

use super::{Format, Output, Plane};

#[tokio::test]
async fn yaml_says_what_json_says() {
    let plane = Plane::start().await;
    // Texts that YAML would take for something else if they were not quoted.
    plane.run(&["app", "create", "--id=1001", "--name=yes: no # null", "--namespace=0x1=ephemeral"]).await.unwrap();
    plane.run(&["app", "create", "--id=2", "--name=  two \"lines'  ", "--key-name=null"]).await.unwrap();
    let yaml = plane.run(&["app", "list", "--output", "yaml"]).await.unwrap();
    let read: Value = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!(read, plane.json(&["app", "list"]).await, "{yaml}");
    assert!(yaml.find("id:").unwrap() < yaml.find("created_ms:").unwrap(), "in the order of the file: {yaml}");
}

#[test]
fn items_of_a_stream_come_one_by_one() {
    let event = |count| wire::TailEvent { count, reason: "a\nb".to_owned(), ..wire::TailEvent::default() };
    let printed = |format| {
        let mut bytes = Vec::new();
        let mut output = Output::new(format, &mut bytes);
        output.head("HEAD\n").unwrap();
        for count in [1, 2] {
            output.item(&event(count), || format!("{count}\n")).unwrap();
        }
        String::from_utf8(bytes).unwrap()
    };
    assert_eq!(printed(Format::Table), "HEAD\n1\n2\n");
    let json = printed(Format::Json);
    let counts: Vec<_> =
        json.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["count"].clone()).collect();
    assert_eq!(counts, [json!(1), json!(2)]);
    let yaml = printed(Format::Yaml);
    assert_eq!(yaml.lines().filter(|line| *line == "---").count(), 2, "{yaml}");
}
