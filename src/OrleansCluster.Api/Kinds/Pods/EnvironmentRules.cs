using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>Rules of `env` and `envFrom`, and of the downward API that volumes share.</summary>
internal static class EnvironmentRules
{
    private static readonly string[] Sources = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef"];

    private static readonly string[] EnvFields =
    [
        "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
        "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
    ];

    private static readonly string[] VolumeFields = ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

    private static readonly string[] Resources =
    [
        "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory",
    ];

    /// <summary>Checks a container's environment.</summary>
    public static void Validate(JsonObject container, FieldPath path, FieldErrors errors)
    {
        foreach (var (index, variable) in container.Items("env"))
        {
            var at = path.Child("env").Index(index);
            var name = variable.GetString("name") ?? "";
            if (name.Length == 0)
                errors.Required(at.Child("name"));
            else
                errors.InvalidIf(NameSyntax.EnvVarName(name), at.Child("name"), name);
            if (variable.GetObject("valueFrom") is { } source)
                ValidateSource(source, variable.GetString("value") ?? "", at.Child("valueFrom"), errors);
        }
        foreach (var (index, from) in container.Items("envFrom"))
            ValidateFrom(from, path.Child("envFrom").Index(index), errors);
    }

    /// <summary>A field of the downward API in a volume.</summary>
    public static void ValidateVolumeField(JsonObject fieldRef, FieldPath path, FieldErrors errors) => ValidateField(fieldRef, VolumeFields, path, errors);

    /// <summary>A resource of the downward API.</summary>
    public static void ValidateResourceField(JsonObject resourceRef, FieldPath path, bool volume, FieldErrors errors)
    {
        if (volume && resourceRef.GetString("containerName") is null or "")
            errors.Required(path.Child("containerName"));
        var resource = resourceRef.GetString("resource") ?? "";
        if (resource.Length == 0)
        {
            errors.Required(path.Child("resource"));
        }
        else if (!Resources.Contains(resource, StringComparer.Ordinal)
            && !resource.StartsWith("limits.hugepages-", StringComparison.Ordinal) && !resource.StartsWith("requests.hugepages-", StringComparison.Ordinal))
        {
            errors.NotSupported(path.Child("resource"), resource, Resources);
        }
    }

    private static void ValidateSource(JsonObject source, string value, FieldPath path, FieldErrors errors)
    {
        if (value.Length > 0)
            errors.Invalid(path, "", "may not be specified when `value` is not empty");
        var count = Sources.Count(s => source.Has(s));
        if (count == 0)
            errors.Invalid(path, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`");
        else if (count > 1)
            errors.Invalid(path, "", "may not have more than one field specified at a time");
        if (source.GetObject("fieldRef") is { } field)
            ValidateField(field, EnvFields, path.Child("fieldRef"), errors);
        if (source.GetObject("resourceFieldRef") is { } resource)
            ValidateResourceField(resource, path.Child("resourceFieldRef"), volume: false, errors);
        foreach (var kind in (ReadOnlySpan<string>)["configMapKeyRef", "secretKeyRef"])
        {
            if (source.GetObject(kind) is not { } key)
                continue;
            var at = path.Child(kind);
            var name = key.GetString("name") ?? "";
            errors.InvalidIf(NameSyntax.Subdomain(name), at.Child("name"), name);
            var keyName = key.GetString("key") ?? "";
            if (keyName.Length == 0)
                errors.Required(at.Child("key"));
            else
                errors.InvalidIf(NameSyntax.ConfigKey(keyName), at.Child("key"), keyName);
        }
    }

    private static void ValidateFrom(JsonObject from, FieldPath path, FieldErrors errors)
    {
        if (from.GetString("prefix") is { Length: > 0 } prefix)
            errors.InvalidIf(NameSyntax.EnvVarName(prefix), path.Child("prefix"), prefix);
        var count = 0;
        foreach (var kind in (ReadOnlySpan<string>)["configMapRef", "secretRef"])
        {
            if (from.GetObject(kind) is not { } reference)
                continue;
            count++;
            var name = reference.GetString("name") ?? "";
            if (name.Length == 0)
                errors.Required(path.Child(kind).Child("name"));
            else
                errors.InvalidIf(NameSyntax.Subdomain(name), path.Child(kind).Child("name"), name);
        }
        if (count == 0)
            errors.Invalid(path, "", "must specify one of: `configMapRef` or `secretRef`");
        else if (count > 1)
            errors.Invalid(path, "", "may not have more than one field specified at a time");
    }

    private static void ValidateField(JsonObject field, string[] supported, FieldPath path, FieldErrors errors)
    {
        if (field.GetString("apiVersion") is null or "")
            errors.Required(path.Child("apiVersion"));
        var text = field.GetString("fieldPath") ?? "";
        if (text.Length == 0)
        {
            errors.Required(path.Child("fieldPath"));
            return;
        }
        var bracket = text.IndexOf("['", StringComparison.Ordinal);
        if (bracket > 0 && text.EndsWith("']", StringComparison.Ordinal) && text.Length >= bracket + 4)
        {
            var map = text[..bracket];
            var key = text[(bracket + 2)..^2];
            if (map is "metadata.labels" or "metadata.annotations")
                errors.InvalidIf(NameSyntax.QualifiedName(map == "metadata.annotations" ? key.ToLowerInvariant() : key), path, key);
            else
                errors.Invalid(path.Child("fieldPath"), map, "does not support subscript");
            return;
        }
        if (!supported.Contains(text, StringComparer.Ordinal))
            errors.NotSupported(path.Child("fieldPath"), text, supported);
    }
}
