using System.Text.RegularExpressions;

namespace OrleansCluster.Kubelet.Images;

/// <summary>
/// An image name as users write it: <c>[registry[:port]/]path[:tag][@digest]</c>, per the grammar of the OCI distribution project.
/// </summary>
/// <param name="Repository">Everything before tag and digest, as written.</param>
/// <param name="Tag">The tag, or null.</param>
/// <param name="Digest">The digest, or null.</param>
public sealed partial record ImageReference(string Repository, string? Tag, string? Digest)
{
    /// <summary>What a pull asks for: the digest if there is one, else the tag, else <c>latest</c>.</summary>
    public string TagOrDigest => Digest ?? Tag ?? "latest";

    /// <summary>Whether the name means whatever <c>latest</c> is now, so that the default pull policy is Always.</summary>
    public bool IsLatest => Digest is null && Tag is null or "latest";

    /// <summary>Parses a name; false when it is not one.</summary>
    public static bool TryParse(string? text, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out ImageReference? reference)
    {
        reference = null;
        if (string.IsNullOrEmpty(text) || text.Length > 1024 || Pattern().Match(text) is not { Success: true } match)
        {
            return false;
        }

        reference = new(
            match.Groups["repository"].Value,
            match.Groups["tag"] is { Success: true } tag ? tag.Value : null,
            match.Groups["digest"] is { Success: true } digest ? digest.Value : null);
        return reference.Repository.Length <= 255;
    }

    // Sub-delimiters of a path part are one '.', one or two '_', or any number of '-'; a registry needs a dot, a port or the name localhost,
    // which need not be told apart from a path here, but only it may hold upper case letters.
    [GeneratedRegex(
        """^(?<repository>(?:(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)+(?::[0-9]+)?|[A-Za-z0-9-]+:[0-9]+|localhost|\[[0-9a-fA-F:]+\](?::[0-9]+)?)/)?[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*)(?::(?<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?<digest>[A-Za-z][A-Za-z0-9]*(?:[+._-][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?$""",
        RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture,
        matchTimeoutMilliseconds: 1000)]
    private static partial Regex Pattern();
}
