using System.Collections.Frozen;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>Rules of a pod's volumes.</summary>
internal static class VolumeRules
{
    private static readonly string[] HostPathTypes = ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

    // One rule per type of volume whose content is checked; other types are only counted.
    private static readonly FrozenDictionary<string, Action<JsonObject, FieldPath, FieldErrors>> Sources =
        new Dictionary<string, Action<JsonObject, FieldPath, FieldErrors>>(StringComparer.Ordinal)
        {
            ["emptyDir"] = ValidateEmptyDir,
            ["hostPath"] = ValidateHostPath,
            ["configMap"] = (source, path, errors) => ValidateKeyed(source, "name", path, errors),
            ["secret"] = (source, path, errors) => ValidateKeyed(source, "secretName", path, errors),
            ["downwardAPI"] = ValidateDownward,
            ["projected"] = ValidateProjected,
            ["nfs"] = ValidateNfs,
            ["persistentVolumeClaim"] = (source, path, errors) => Require(source, "claimName", path, errors),
            ["ephemeral"] = (source, path, errors) => RequireMember(source, "volumeClaimTemplate", path, errors),
            ["csi"] = (source, path, errors) => Require(source, "driver", path, errors),
            ["image"] = (source, path, errors) => Require(source, "reference", path, errors),
        }.ToFrozenDictionary(StringComparer.Ordinal);

    /// <summary>Checks the volumes and answers their names.</summary>
    public static IReadOnlySet<string> Validate(JsonObject? spec, FieldPath path, FieldErrors errors)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        foreach (var (index, volume) in spec.Items("volumes"))
        {
            var at = path.Index(index);
            ValidateSource(volume, at, errors);
            var name = volume.GetString("name") ?? "";
            if (name.Length == 0)
                errors.Required(at.Child("name"));
            else if (NameSyntax.Label(name) is { } wrong)
                errors.Invalid(at.Child("name"), name, wrong);
            else if (!names.Add(name))
                errors.Duplicate(at.Child("name"), name);
        }
        return names;
    }

    /// <summary>A path that stays below where it starts.</summary>
    public static void ValidateDescending(string text, FieldPath path, FieldErrors errors)
    {
        if (text.StartsWith('/'))
            errors.Invalid(path, text, "must be a relative path");
        ValidateNoBacksteps(text, path, errors);
    }

    private static void ValidateNoBacksteps(string text, FieldPath path, FieldErrors errors)
    {
        foreach (var part in text.AsSpan().Split('/'))
        {
            if (text.AsSpan(part) is "..")
            {
                errors.Invalid(path, text, "must not contain '..'");
                return;
            }
        }
    }

    private static void ValidateSource(JsonObject volume, FieldPath path, FieldErrors errors)
    {
        var count = 0;
        foreach (var (member, value) in volume)
        {
            if (member == "name" || value is null)
                continue;
            if (count++ > 0)
                errors.Forbidden(path.Child(member), "may not specify more than 1 volume type");
            else if (value is JsonObject source && Sources.TryGetValue(member, out var rule))
                rule(source, path.Child(member), errors);
        }
        if (count == 0)
            errors.Required(path, "must specify a volume type");
    }

    private static void ValidateEmptyDir(JsonObject source, FieldPath path, FieldErrors errors)
    {
        if (source.Has("sizeLimit") && ResourceRules.TryRead(source["sizeLimit"], out var limit) && limit.Sign < 0)
            errors.Forbidden(path.Child("sizeLimit"), "SizeLimit field must be a valid resource quantity");
    }

    private static void ValidateHostPath(JsonObject source, FieldPath path, FieldErrors errors)
    {
        var hostPath = source.GetString("path") ?? "";
        if (hostPath.Length == 0)
            errors.Required(path.Child("path"));
        else
            ValidateNoBacksteps(hostPath, path.Child("path"), errors);
        PodSpecRules.ValidateChoice(source, "type", path, HostPathTypes, errors, required: false);
    }

    private static void ValidateNfs(JsonObject source, FieldPath path, FieldErrors errors)
    {
        Require(source, "server", path, errors);
        Require(source, "path", path, errors);
        if (source.GetString("path") is { Length: > 0 } exported && !exported.StartsWith('/'))
            errors.Invalid(path.Child("path"), exported, "must be an absolute path");
    }

    private static void ValidateKeyed(JsonObject source, string nameMember, FieldPath path, FieldErrors errors)
    {
        Require(source, nameMember, path, errors);
        ValidateMode(source, "defaultMode", path, errors);
        ValidateItems(source, path, errors);
    }

    private static void ValidateItems(JsonObject source, FieldPath path, FieldErrors errors)
    {
        foreach (var (index, item) in source.Items("items"))
        {
            var at = path.Child("items").Index(index);
            Require(item, "key", at, errors);
            ValidateFile(item, at, errors);
        }
    }

    private static void ValidateDownward(JsonObject source, FieldPath path, FieldErrors errors)
    {
        ValidateMode(source, "defaultMode", path, errors);
        ValidateDownwardItems(source, path, errors);
    }

    private static void ValidateDownwardItems(JsonObject source, FieldPath path, FieldErrors errors)
    {
        foreach (var (index, item) in source.Items("items"))
        {
            var at = path.Child("items").Index(index);
            ValidateFile(item, at, errors);
            var field = item.GetObject("fieldRef");
            var resource = item.GetObject("resourceFieldRef");
            if (field is not null)
            {
                EnvironmentRules.ValidateVolumeField(field, at.Child("fieldRef"), errors);
                if (resource is not null)
                    errors.Invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
            }
            else if (resource is not null)
            {
                EnvironmentRules.ValidateResourceField(resource, at.Child("resourceFieldRef"), volume: true, errors);
            }
            else
            {
                errors.Required(at.Child("fieldRef"), "one of fieldRef and resourceFieldRef is required");
            }
        }
    }

    private static void ValidateProjected(JsonObject source, FieldPath path, FieldErrors errors)
    {
        ValidateMode(source, "defaultMode", path, errors);
        foreach (var (index, projection) in source.Items("sources"))
        {
            var at = path.Child("sources").Index(index);
            var count = 0;
            foreach (var (member, value) in projection)
            {
                if (value is not JsonObject part)
                    continue;
                if (count++ > 0)
                {
                    errors.Forbidden(at.Child(member), "may not specify more than 1 volume type per source");
                    continue;
                }
                ValidateProjection(member, part, at.Child(member), errors);
            }
            if (count == 0)
                errors.Required(at, "must specify one of: secret, downwardAPI, configMap, serviceAccountToken, clusterTrustBundle");
        }
    }

    private static void ValidateProjection(string member, JsonObject part, FieldPath path, FieldErrors errors)
    {
        switch (member)
        {
            case "configMap" or "secret":
                Require(part, "name", path, errors);
                ValidateItems(part, path, errors);
                break;
            case "downwardAPI":
                ValidateDownwardItems(part, path, errors);
                break;
            case "serviceAccountToken":
                var seconds = part.GetLong("expirationSeconds");
                if (seconds is < 600)
                    errors.Invalid(path.Child("expirationSeconds"), seconds, "may not specify a duration less than 10 minutes");
                else if (seconds is > 1L << 32)
                    errors.Invalid(path.Child("expirationSeconds"), seconds, "may not specify a duration larger than 2^32 seconds");
                if (part.GetString("path") is not { Length: > 0 } file)
                    errors.Required(path.Child("path"));
                else
                    ValidateFilePath(file, path.Child("path"), errors);
                break;
            default:
                break;
        }
    }

    private static void ValidateFile(JsonObject item, FieldPath path, FieldErrors errors)
    {
        if (item.GetString("path") is not { Length: > 0 } file)
            errors.Required(path.Child("path"));
        else
            ValidateFilePath(file, path.Child("path"), errors);
        ValidateMode(item, "mode", path, errors);
    }

    // Names that start with two dots are the volume's own, for swapping its content at once.
    private static void ValidateFilePath(string file, FieldPath path, FieldErrors errors)
    {
        ValidateDescending(file, path, errors);
        if (file.StartsWith("..", StringComparison.Ordinal) && file != ".." && !file.StartsWith("../", StringComparison.Ordinal))
            errors.Invalid(path, file, "must not start with '..'");
    }

    private static void ValidateMode(JsonObject source, string member, FieldPath path, FieldErrors errors)
    {
        if (source.Has(member) && source.GetLong(member) is not (>= 0 and <= 511) and var mode)
            errors.Invalid(path.Child(member), mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }

    private static void Require(JsonObject source, string member, FieldPath path, FieldErrors errors)
    {
        if (source.GetString(member) is null or "")
            errors.Required(path.Child(member));
    }

    private static void RequireMember(JsonObject source, string member, FieldPath path, FieldErrors errors)
    {
        if (!source.Has(member))
            errors.Required(path.Child(member));
    }
}
