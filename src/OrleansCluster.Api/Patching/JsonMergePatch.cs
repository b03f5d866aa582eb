using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>JSON merge patch (RFC 7386): objects merge, null removes, everything else replaces.</summary>
public static class JsonMergePatch
{
    /// <summary>Applies a patch given as UTF-8 JSON. The original is not changed.</summary>
    public static PatchResult Apply(JsonObject original, ReadOnlySpan<byte> patch)
    {
        var decoded = ObjectDecoder.DecodeUntyped(patch);
        return decoded.Succeeded
            ? new PatchResult(Apply(original, decoded.Object), decoded.StrictErrors)
            : new PatchResult(StatusError.BadRequest("error decoding patch: " + decoded.Error.Message));
    }

    /// <summary>Applies a patch. Neither argument is changed, and the result shares nothing with them.</summary>
    public static JsonObject Apply(JsonObject original, JsonObject patch)
    {
        var result = (JsonObject)original.DeepClone();
        Merge(result, patch);
        return result;
    }

    private static void Merge(JsonObject target, JsonObject patch)
    {
        foreach (var (name, value) in patch)
        {
            if (value is null)
            {
                target.Remove(name);
            }
            else if (value is JsonObject inner)
            {
                // An object patch onto anything else starts from nothing, so that its nulls do not get into the result.
                if (target[name] is not JsonObject existing)
                    target[name] = existing = new JsonObject();
                Merge(existing, inner);
            }
            else
            {
                target[name] = value.DeepClone();
            }
        }
    }
}
