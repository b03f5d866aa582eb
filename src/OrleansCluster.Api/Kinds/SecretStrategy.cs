using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>Secrets (v1). `stringData` is a way to write: it is folded into `data` and never stored.</summary>
internal sealed class SecretStrategy : ResourceStrategy
{
    private const string ServiceAccountName = "kubernetes.io/service-account.name";

    public static ResourceDefinition Definition { get; } = new()
    {
        Group = "",
        Version = "v1",
        Kind = "Secret",
        Plural = "secrets",
        Singular = "secret",
        Namespaced = true,
        Columns = [new("Name", Format: "name"), new("Type"), new("Data"), new("Age")],
        Strategy = new SecretStrategy(),
    };

    public override IReadOnlyList<SelectableField> SelectableFields => [new("type")];

    public override void Default(JsonObject obj)
    {
        obj.SetDefault("type", "Opaque");
        if (obj.GetObject("stringData") is { } plain)
        {
            foreach (var (key, value) in plain)
                obj.EnsureObject("data")[key] = Convert.ToBase64String(Encoding.UTF8.GetBytes(JsonReading.AsString(value) ?? ""));
        }
        obj.Remove("stringData");
    }

    public override void Validate(JsonObject obj, FieldErrors errors)
    {
        var data = obj.GetObject("data");
        var path = FieldPath.Root("data");
        KeyedData.ValidateKeys(data, path, errors);
        if (KeyedData.Base64Size(data) > KeyedData.MaxBytes)
            errors.TooLong(path, KeyedData.MaxBytes);
        switch (obj.GetString("type"))
        {
            case "kubernetes.io/service-account-token":
                if (obj.GetObject("metadata").GetObject("annotations").GetString(ServiceAccountName) is null or "")
                    errors.Required(FieldPath.Root("metadata").Child("annotations").Key(ServiceAccountName));
                break;
            case "kubernetes.io/dockercfg":
                RequireJson(data, ".dockercfg", errors);
                break;
            case "kubernetes.io/dockerconfigjson":
                RequireJson(data, ".dockerconfigjson", errors);
                break;
            case "kubernetes.io/basic-auth":
                if (!data.Has("username") && !data.Has("password"))
                {
                    errors.Required(path.Key("username"));
                    errors.Required(path.Key("password"));
                }
                break;
            case "kubernetes.io/ssh-auth":
                Require(data, "ssh-privatekey", errors);
                break;
            case "kubernetes.io/tls":
                Require(data, "tls.crt", errors);
                Require(data, "tls.key", errors);
                break;
            default:
                break;
        }
    }

    public override void ValidateUpdate(JsonObject obj, JsonObject old, FieldErrors errors)
    {
        if (obj.GetString("type") != old.GetString("type"))
            errors.Invalid(FieldPath.Root("type"), obj.GetString("type"), "field is immutable");
        KeyedData.ValidateImmutable(obj, old, errors, "data");
    }

    public override void WriteRow(JsonElement obj, DateTimeOffset now, TableRow row)
    {
        row.AddName(obj);
        row.Add(obj.Text("type") ?? "");
        row.Add(obj.Count("data"));
        row.AddAge(obj, now);
    }

    private static void Require(JsonObject? data, string key, FieldErrors errors)
    {
        if (!data.Has(key))
            errors.Required(FieldPath.Root("data").Key(key));
    }

    private static void RequireJson(JsonObject? data, string key, FieldErrors errors)
    {
        Require(data, key, errors);
        if (data.GetString(key) is not { } encoded)
            return;
        try
        {
            using var document = JsonDocument.Parse(Convert.FromBase64String(encoded));
        }
        catch (Exception e) when (e is JsonException or FormatException)
        {
            // The parser's words could repeat the secret.
            errors.Invalid(FieldPath.Root("data").Key(key), "<secret contents redacted>", "invalid character in the JSON document");
        }
    }
}
