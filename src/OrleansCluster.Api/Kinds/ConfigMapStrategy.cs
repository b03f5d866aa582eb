using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>ConfigMaps (v1).</summary>
internal sealed class ConfigMapStrategy : ResourceStrategy
{
    public static ResourceDefinition Definition { get; } = new()
    {
        Group = "",
        Version = "v1",
        Kind = "ConfigMap",
        Plural = "configmaps",
        Singular = "configmap",
        Namespaced = true,
        ShortNames = ["cm"],
        Columns = [new("Name", Format: "name"), new("Data"), new("Age")],
        Strategy = new ConfigMapStrategy(),
    };

    public override void Validate(JsonObject obj, FieldErrors errors)
    {
        var data = obj.GetObject("data");
        var binary = obj.GetObject("binaryData");
        KeyedData.ValidateKeys(data, FieldPath.Root("data"), errors);
        KeyedData.ValidateKeys(binary, FieldPath.Root("binaryData"), errors);
        foreach (var (key, _) in binary ?? [])
        {
            if (data?.ContainsKey(key) == true)
                errors.Invalid(FieldPath.Root("data").Key(key), key, "duplicate of key present in binaryData");
        }
        if (KeyedData.TextSize(data) + KeyedData.Base64Size(binary) > KeyedData.MaxBytes)
            errors.TooLong(FieldPath.Root("[]"), KeyedData.MaxBytes);
    }

    public override void ValidateUpdate(JsonObject obj, JsonObject old, FieldErrors errors) =>
        KeyedData.ValidateImmutable(obj, old, errors, "data", "binaryData");

    public override void WriteRow(JsonElement obj, DateTimeOffset now, TableRow row)
    {
        row.AddName(obj);
        row.Add(obj.Count("data") + obj.Count("binaryData"));
        row.AddAge(obj, now);
    }
}
