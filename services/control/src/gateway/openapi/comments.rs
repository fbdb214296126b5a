//! Comments of the `.proto` file.

use proto::json::prost_reflect::FileDescriptor;

/// What stands above something, in paragraphs.
pub(super) struct Comment(Vec<String>);

impl Comment {
    /// What stands in `file` above what `path` leads to, as SourceCodeInfo.Location of descriptor.proto has it.
    pub(super) fn of(file: &FileDescriptor, path: &[i32]) -> Self {
        let locations = file.file_descriptor_proto().source_code_info.iter().flat_map(|info| &info.location);
        let text =
            locations.filter(|location| location.path == path).find_map(|location| location.leading_comments.as_ref());
        let lines: Vec<&str> = text.map(|text| text.lines().map(str::trim).collect()).unwrap_or_default();
        let paragraphs = lines.split(|line| line.is_empty()).filter(|lines| !lines.is_empty());
        Self(paragraphs.map(|lines| lines.join(" ")).collect())
    }

    pub(super) fn whole(&self) -> String {
        self.0.join("\n\n")
    }

    /// Without its full stop.
    pub(super) fn first_sentence(&self) -> String {
        let first = self.0.first().map(String::as_str).unwrap_or_default();
        first.split_once(". ").map_or(first, |(first, _)| first).trim_end_matches('.').to_owned()
    }
}
