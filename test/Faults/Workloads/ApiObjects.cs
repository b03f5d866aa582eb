using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using OrleansCluster.Faults.Histories;

namespace OrleansCluster.Faults.Workloads;

/// <summary>Reads API objects into what the checker compares.</summary>
internal static class ApiObjects
{
    /// <summary>Annotations with this prefix are the workload's.</summary>
    public const string Prefix = "faults.test/";

    /// <summary>Resources whose bodies are kept for the rules about the cluster's state.</summary>
    private static readonly HashSet<string> KeepBody = new(["pods", "nodes", "replicationcontrollers", "endpoints", "namespaces"], StringComparer.Ordinal);

    public static ObjectVersion Read(string resource, JsonElement obj)
    {
        var metadata = obj.GetProperty("metadata");
        var ns = metadata.TryGetProperty("namespace", out var n) ? n.GetString() + "/" : "";
        return new ObjectVersion(
            ns + metadata.GetProperty("name").GetString(),
            RevisionOf(obj),
            metadata.GetProperty("uid").GetString()!,
            FieldsOf(resource, obj),
            DigestOf(obj),
            KeepBody.Contains(resource) ? obj.GetRawText() : null);
    }

    public static long RevisionOf(JsonElement obj) =>
        long.Parse(obj.GetProperty("metadata").GetProperty("resourceVersion").GetString()!, System.Globalization.CultureInfo.InvariantCulture);

    private static Fields FieldsOf(string resource, JsonElement obj)
    {
        var values = new Dictionary<string, string>(StringComparer.Ordinal);
        if (resource == "configmaps")
        {
            if (obj.TryGetProperty("data", out var data) && data.ValueKind == JsonValueKind.Object)
            {
                foreach (var member in data.EnumerateObject())
                    values[member.Name] = member.Value.GetString()!;
            }
            return new Fields(values);
        }
        if (obj.GetProperty("metadata").TryGetProperty("annotations", out var annotations))
        {
            foreach (var member in annotations.EnumerateObject().Where(a => a.Name.StartsWith(Prefix, StringComparison.Ordinal)))
                values[member.Name[Prefix.Length..]] = member.Value.GetString()!;
        }
        if (resource == "replicationcontrollers")
            values["replicas"] = obj.GetProperty("spec").GetProperty("replicas").GetRawText();
        return new Fields(values);
    }

    /// <summary>Items of a list carry no kind, so it is left out; everything else counts, resourceVersion included.</summary>
    private static string DigestOf(JsonElement obj)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var member in obj.EnumerateObject().Where(m => m.Name is not ("kind" or "apiVersion")).OrderBy(m => m.Name, StringComparer.Ordinal))
            hash.AppendData(Encoding.UTF8.GetBytes(member.Name + member.Value.GetRawText()));
        return Convert.ToHexString(hash.GetHashAndReset(), 0, 12);
    }
}
