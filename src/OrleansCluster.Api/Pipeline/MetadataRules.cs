using System.Text;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>What holds for the metadata of every kind: syntax of names, labels, annotations, finalizers and owners, and what nobody may change.</summary>
internal static class MetadataRules
{
    /// <summary>Most bytes that the keys and values of all annotations may have together: 256 KiB.</summary>
    public const int MaxAnnotationBytes = 256 * 1024;

    private static readonly FieldPath Root = FieldPath.Root("metadata");
    private static readonly string[] Immutable =
        ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"];

    /// <summary>How the wire shows a resourceVersion that was not given.</summary>
    public static readonly GoText ZeroVersion = GoText.Bare("0x0");

    /// <summary>Puts back what the server alone sets; a client that leaves it out means no change.</summary>
    public static void KeepServerSet(JsonObject metadata, JsonObject? old)
    {
        foreach (var member in (ReadOnlySpan<string>)["uid", "creationTimestamp"])
        {
            if (metadata.GetString(member) is null or "")
                metadata.CopyMember(member, old);
        }
        if (old.Has("deletionTimestamp"))
        {
            metadata.CopyMember("deletionTimestamp", old);
            if (!metadata.Has("deletionGracePeriodSeconds"))
                metadata.CopyMember("deletionGracePeriodSeconds", old);
        }
        else if (!metadata.Has("deletionTimestamp"))
        {
            metadata.Remove("deletionTimestamp");
        }
        metadata.Remove("selfLink");
        metadata.CopyMember("generation", old);
        metadata.CopyMember("resourceVersion", old);
        ResetManagedFields(metadata);
    }

    /// <summary>A list with one empty entry resets the field managers.</summary>
    public static void ResetManagedFields(JsonObject metadata)
    {
        if (metadata.GetArray("managedFields") is [JsonObject { Count: 0 }])
            metadata.Remove("managedFields");
    }

    /// <summary>Checks the metadata of an object of any kind.</summary>
    public static void Validate(JsonObject obj, ResourceDefinition definition, FieldErrors errors)
    {
        var metadata = obj.GetObject("metadata");
        var rule = definition.Strategy.NameRule;
        // A base ends where the random part begins, so a hyphen at its end is fine.
        if (metadata.GetString("generateName") is { Length: > 0 } generateName)
        {
            var stem = generateName.EndsWith('-') ? generateName[..^1] + "a" : generateName;
            errors.InvalidIf(NameSyntax.Name(rule, stem), Root.Child("generateName"), generateName);
        }
        if (metadata.GetString("name") is { Length: > 0 } name)
            errors.InvalidIf(NameSyntax.Name(rule, name), Root.Child("name"), name);
        else
            errors.Required(Root.Child("name"), "name or generateName is required");

        var @namespace = metadata.GetString("namespace") ?? "";
        if (definition.Namespaced)
        {
            if (@namespace.Length == 0)
                errors.Required(Root.Child("namespace"));
            else
                errors.InvalidIf(NameSyntax.Label(@namespace), Root.Child("namespace"), @namespace);
        }
        else if (@namespace.Length > 0)
        {
            errors.Forbidden(Root.Child("namespace"), "not allowed on this type");
        }

        ValidateOwners(metadata, errors);
        ValidateFinalizers(metadata, errors);
        ValidateLabels(metadata.GetObject("labels"), Root.Child("labels"), errors);
        ValidateAnnotations(metadata.GetObject("annotations"), Root.Child("annotations"), errors);
    }

    /// <summary>Checks what of the metadata an update changes.</summary>
    public static void ValidateUpdate(JsonObject metadata, JsonObject? old, FieldErrors errors)
    {
        foreach (var member in Immutable)
        {
            if (!JsonNode.DeepEquals(metadata[member], old?[member]))
                errors.Invalid(Root.Child(member), metadata[member], "field is immutable");
        }
        if (!old.Has("deletionTimestamp"))
            return;
        var added = metadata.Strings("finalizers").Except(old.Strings("finalizers"), StringComparer.Ordinal).ToArray();
        if (added.Length > 0)
        {
            errors.Forbidden(Root.Child("finalizers"),
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{" +
                string.Join(", ", added.Select(f => $"\"{f}\"")) + "}");
        }
    }

    /// <summary>Checks a map of labels (of metadata, of a template, of a selector).</summary>
    public static void ValidateLabels(JsonObject? labels, FieldPath path, FieldErrors errors)
    {
        if (labels is null)
            return;
        foreach (var (key, value) in labels)
        {
            errors.InvalidIf(NameSyntax.QualifiedName(key), path, key);
            var text = JsonReading.AsString(value) ?? "";
            errors.InvalidIf(NameSyntax.LabelValue(text), path, text);
        }
    }

    /// <summary>Checks a map of annotations: the keys' syntax and the size of it all.</summary>
    public static void ValidateAnnotations(JsonObject? annotations, FieldPath path, FieldErrors errors)
    {
        if (annotations is null)
            return;
        long size = 0;
        foreach (var (key, value) in annotations)
        {
            errors.InvalidIf(NameSyntax.QualifiedName(key.ToLowerInvariant()), path, key);
            size += Encoding.UTF8.GetByteCount(key) + Encoding.UTF8.GetByteCount(JsonReading.AsString(value) ?? "");
        }
        if (size > MaxAnnotationBytes)
            errors.TooLong(path, MaxAnnotationBytes);
    }

    private static void ValidateFinalizers(JsonObject? metadata, FieldErrors errors)
    {
        var path = Root.Child("finalizers");
        bool orphan = false, foreground = false;
        var index = 0;
        foreach (var finalizer in metadata.Strings("finalizers"))
        {
            orphan |= finalizer == Deletion.OrphanFinalizer;
            foreground |= finalizer == Deletion.ForegroundFinalizer;
            if (NameSyntax.QualifiedName(finalizer) is { } wrong)
            {
                errors.Invalid(path, finalizer, wrong);
            }
            else if (!finalizer.Contains('/', StringComparison.Ordinal)
                && finalizer is not ("kubernetes" or Deletion.OrphanFinalizer or Deletion.ForegroundFinalizer))
            {
                errors.Invalid(path.Index(index), finalizer, "name is neither a standard finalizer name nor is it fully qualified");
            }
            index++;
        }
        if (orphan && foreground)
            errors.Invalid(path, metadata.GetArray("finalizers"), "finalizer orphan and foregroundDeletion cannot be both set");
    }

    private static void ValidateOwners(JsonObject? metadata, FieldErrors errors)
    {
        var path = Root.Child("ownerReferences");
        string? controller = null;
        foreach (var (_, owner) in metadata.Items("ownerReferences"))
        {
            var apiVersion = owner.GetString("apiVersion") ?? "";
            if (apiVersion.Length == 0 || apiVersion.EndsWith('/') || apiVersion.AsSpan().Count('/') > 1)
                errors.Invalid(path.Child("apiVersion"), apiVersion, "version must not be empty");
            foreach (var member in (ReadOnlySpan<string>)["kind", "name", "uid"])
            {
                if (owner.GetString(member) is null or "")
                    errors.Invalid(path.Child(member), "", $"{member} must not be empty");
            }
            if (apiVersion == "v1" && owner.GetString("kind") == "Event")
                errors.Invalid(path, owner, "/v1, Kind=Event is disallowed from being an owner");
            if (owner.GetBool("controller") != true)
                continue;
            var name = $"{owner.GetString("kind")}/{owner.GetString("name")}";
            if (controller is not null)
            {
                errors.Invalid(path, metadata.GetArray("ownerReferences"),
                    $"Only one reference can have Controller set to true. Found \"true\" in references for {controller} and {name}");
            }
            controller ??= name;
        }
    }
}
