using System.Buffers.Text;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using OrleansCluster.Api;

namespace OrleansCluster.ApiServer;

/// <summary>Where a paged list goes on: opaque to clients, in the form kube-apiserver uses (wire contract, section 7).</summary>
/// <param name="Revision">Revision of the list's snapshot; -1 for "whatever is newest" (an inconsistent continuation).</param>
/// <param name="After">Storage key of the last object seen.</param>
internal readonly record struct ContinueToken(long Revision, string After)
{
    private const string Format = "meta.k8s.io/v1";

    /// <summary>The wire form.</summary>
    public string Encode()
    {
        var json = new JsonObject { ["v"] = Format, ["rv"] = Revision, ["start"] = After + "\0" };
        return Base64Url.EncodeToString(Encoding.UTF8.GetBytes(json.ToJsonString()));
    }

    /// <summary>Reads the wire form.</summary>
    /// <exception cref="StatusException">400: not one of ours.</exception>
    public static ContinueToken Decode(string text)
    {
        try
        {
            using var document = JsonDocument.Parse(Base64Url.DecodeFromChars(text));
            var root = document.RootElement;
            var start = root.GetProperty("start").GetString() ?? "";
            if (root.GetProperty("v").GetString() != Format || start.Length == 0)
                throw Invalid("continue key is not valid: unrecognized encoded version");
            return new ContinueToken(root.GetProperty("rv").GetInt64(), start.TrimEnd('\0'));
        }
        catch (Exception error) when (error is FormatException or JsonException or KeyNotFoundException or InvalidOperationException)
        {
            throw Invalid("continue key is not valid: " + error.Message);
        }
    }

    private static StatusException Invalid(string message) => new(StatusError.BadRequest(message));
}
