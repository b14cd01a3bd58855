//! The page's files: nothing in them reads a text as markup, and nothing comes from elsewhere.

use super::guard::files;
use super::site::Site;

/// What would read a text as markup or as a program, or load from elsewhere.
const NEVER: [&str; 12] = [
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "document.write",
    "eval(",
    "Function(",
    "srcdoc",
    "javascript:",
    "https://",
    "style=\"",
    "@import",
    "onclick=",
];

#[tokio::test]
async fn no_file_reads_a_text_as_markup_or_loads_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    for (path, text) in files(&site).await {
        for word in NEVER {
            assert!(!text.contains(word), "{path}: {word}");
        }
        // The one address is the name of a vocabulary.
        let addresses = text.matches("http://").count();
        assert_eq!(
            addresses,
            text.matches("http://www.w3.org/2000/svg").count(),
            "{path}"
        );
    }
    site.end().await;
}
