using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>Rules of containers: names, images, ports, environment, mounts, probes, resources.</summary>
internal static class ContainerRules
{
    public const string IdRange = "must be between 0 and 2147483647, inclusive";
    public const string PortRange = "must be between 1 and 65535, inclusive";

    private static readonly string[] PullPolicies = ["Always", "IfNotPresent", "Never"];
    private static readonly string[] MessagePolicies = ["FallbackToLogsOnError", "File"];
    private static readonly string[] Protocols = ["SCTP", "TCP", "UDP"];
    private static readonly string[] Propagations = ["Bidirectional", "HostToContainer", "None"];

    /// <summary>Checks all containers of a spec; names are unique over all its lists.</summary>
    public static void ValidateAll(JsonObject? spec, FieldPath path, IReadOnlySet<string> volumes, FieldErrors errors)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        if (spec.GetArray("containers") is null or { Count: 0 })
            errors.Required(path.Child("containers"));
        foreach (var (index, container) in spec.Items("containers"))
            Validate(container, path.Child("containers").Index(index), ContainerRole.App);
        foreach (var (index, container) in spec.Items("initContainers"))
        {
            var sidecar = container.GetString("restartPolicy") == "Always";
            Validate(container, path.Child("initContainers").Index(index), sidecar ? ContainerRole.Sidecar : ContainerRole.Init);
        }
        foreach (var (index, container) in spec.Items("ephemeralContainers"))
            Validate(container, path.Child("ephemeralContainers").Index(index), ContainerRole.Ephemeral);
        ValidateHostPorts(spec, path, errors);

        void Validate(JsonObject container, FieldPath at, ContainerRole role)
        {
            var name = container.GetString("name") ?? "";
            if (name.Length == 0)
                errors.Required(at.Child("name"));
            else if (NameSyntax.Label(name) is { } wrong)
                errors.Invalid(at.Child("name"), name, wrong);
            else if (!names.Add(name))
                errors.Duplicate(at.Child("name"), name);
            ValidateContainer(container, at, role, spec, volumes, errors);
        }
    }

    /// <summary>Checks numeric user and group ids.</summary>
    public static void ValidateIds(JsonObject? security, FieldPath path, ReadOnlySpan<string> members, FieldErrors errors)
    {
        foreach (var member in members)
        {
            if (security.Has(member) && security.GetLong(member) is not (>= 0 and <= int.MaxValue) and var id)
                errors.Invalid(path.Child(member), id, IdRange);
        }
    }

    private static void ValidateContainer(
        JsonObject container, FieldPath path, ContainerRole role, JsonObject? spec, IReadOnlySet<string> volumes, FieldErrors errors)
    {
        var image = container.GetString("image") ?? "";
        if (image.Length == 0)
            errors.Required(path.Child("image"));
        else if (image.Length != image.Trim().Length)
            errors.Invalid(path.Child("image"), image, "must not have leading or trailing whitespace");
        PodSpecRules.ValidateChoice(container, "imagePullPolicy", path, PullPolicies, errors);
        PodSpecRules.ValidateChoice(container, "terminationMessagePolicy", path, MessagePolicies, errors);
        ValidateRestartPolicy(container, path, role, errors);
        ValidatePorts(container, path.Child("ports"), spec.GetBool("hostNetwork") == true, errors);
        EnvironmentRules.Validate(container, path, errors);
        ValidateMounts(container, path, volumes, errors);
        ProbeRules.Validate(container, path, role, spec.GetLong("terminationGracePeriodSeconds") ?? 30, errors);
        ResourceRules.ValidateRequirements(container.GetObject("resources"), path.Child("resources"), errors);
        ValidateSecurity(container.GetObject("securityContext"), path.Child("securityContext"), errors);
    }

    private static void ValidateRestartPolicy(JsonObject container, FieldPath path, ContainerRole role, FieldErrors errors)
    {
        if (!container.Has("restartPolicy"))
            return;
        if (role is ContainerRole.App or ContainerRole.Ephemeral)
            errors.Forbidden(path.Child("restartPolicy"), role == ContainerRole.App ? "may not be set for non-init containers" : "cannot be set for an Ephemeral Container");
        else if (role != ContainerRole.Sidecar)
            errors.NotSupported(path.Child("restartPolicy"), container.GetString("restartPolicy"), ["Always"]);
    }

    private static void ValidatePorts(JsonObject container, FieldPath path, bool hostNetwork, FieldErrors errors)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        foreach (var (index, port) in container.Items("ports"))
        {
            var at = path.Index(index);
            if (port.GetString("name") is { Length: > 0 } name)
            {
                var before = errors.All.Count;
                foreach (var message in NameSyntax.PortName(name))
                    errors.Invalid(at.Child("name"), name, message);
                if (errors.All.Count == before && !names.Add(name))
                    errors.Duplicate(at.Child("name"), name);
            }
            var number = port.GetLong("containerPort") ?? 0;
            if (number == 0)
                errors.Required(at.Child("containerPort"));
            else if (number is < 1 or > 65535)
                errors.Invalid(at.Child("containerPort"), number, PortRange);
            var hostPort = port.GetLong("hostPort") ?? 0;
            if (hostPort is < 0 or > 65535)
                errors.Invalid(at.Child("hostPort"), hostPort, PortRange);
            else if (hostNetwork && hostPort != 0 && hostPort != number)
                errors.Invalid(at.Child("containerPort"), number, "must match `hostPort` when `hostNetwork` is true");
            PodSpecRules.ValidateChoice(port, "protocol", at, Protocols, errors);
            if (port.GetString("hostIP") is { Length: > 0 } ip && !NameSyntax.IsIP(ip))
                errors.Invalid(at.Child("hostIP"), ip, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
        }
    }

    private static void ValidateHostPorts(JsonObject? spec, FieldPath path, FieldErrors errors)
    {
        HashSet<string>? taken = null;
        foreach (var (index, container) in spec.Items("containers"))
        {
            foreach (var (at, port) in container.Items("ports"))
            {
                if (port.GetLong("hostPort") is not (> 0 and var hostPort))
                    continue;
                var key = $"{port.GetString("protocol")}/{port.GetString("hostIP")}/{hostPort}";
                if (!(taken ??= new HashSet<string>(StringComparer.Ordinal)).Add(key))
                    errors.Duplicate(path.Child("containers").Index(index).Child("ports").Index(at).Child("hostPort"), key);
            }
        }
    }

    private static void ValidateMounts(JsonObject container, FieldPath path, IReadOnlySet<string> volumes, FieldErrors errors)
    {
        var paths = new HashSet<string>(StringComparer.Ordinal);
        foreach (var (index, mount) in container.Items("volumeMounts"))
        {
            var at = path.Child("volumeMounts").Index(index);
            var name = mount.GetString("name") ?? "";
            if (name.Length == 0)
                errors.Required(at.Child("name"));
            else if (!volumes.Contains(name))
                errors.NotFound(at.Child("name"), name);
            var mountPath = mount.GetString("mountPath") ?? "";
            if (mountPath.Length == 0)
                errors.Required(at.Child("mountPath"));
            else if (!paths.Add(mountPath))
                errors.Invalid(at.Child("mountPath"), mountPath, "must be unique");
            var subPath = mount.GetString("subPath") ?? "";
            var subPathExpr = mount.GetString("subPathExpr") ?? "";
            VolumeRules.ValidateDescending(subPath, at.Child("subPath"), errors);
            VolumeRules.ValidateDescending(subPathExpr, at.Child("subPathExpr"), errors);
            if (subPath.Length > 0 && subPathExpr.Length > 0)
                errors.Invalid(at.Child("subPathExpr"), subPathExpr, "subPathExpr and subPath are mutually exclusive");
            PodSpecRules.ValidateChoice(mount, "mountPropagation", at, Propagations, errors, required: false);
            if (mount.GetString("mountPropagation") == "Bidirectional" && container.GetObject("securityContext").GetBool("privileged") != true)
                errors.Forbidden(at.Child("mountPropagation"), "Bidirectional mount propagation is available only to privileged containers");
        }
        foreach (var (index, device) in container.Items("volumeDevices"))
        {
            var at = path.Child("volumeDevices").Index(index);
            var name = device.GetString("name") ?? "";
            if (name.Length == 0)
                errors.Required(at.Child("name"));
            else if (!volumes.Contains(name))
                errors.NotFound(at.Child("name"), name);
            if (device.GetString("devicePath") is null or "")
                errors.Required(at.Child("devicePath"));
        }
    }

    private static void ValidateSecurity(JsonObject? security, FieldPath path, FieldErrors errors)
    {
        ValidateIds(security, path, ["runAsUser", "runAsGroup"], errors);
        PodSpecRules.ValidateChoice(security, "procMount", path, ["Default", "Unmasked"], errors, required: false);
        if (security.GetBool("allowPrivilegeEscalation") != false)
            return;
        if (security.GetBool("privileged") == true)
            errors.Invalid(path, security, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        if (security.GetObject("capabilities").Strings("add").Contains("CAP_SYS_ADMIN", StringComparer.Ordinal))
            errors.Invalid(path, security, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN");
    }
}

/// <summary>What a container is in its pod.</summary>
internal enum ContainerRole
{
    App,
    Init,

    /// <summary>An init container that restarts, and so runs beside the app containers.</summary>
    Sidecar,
    Ephemeral,
}
