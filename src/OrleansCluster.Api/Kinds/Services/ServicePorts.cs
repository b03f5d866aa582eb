using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>Rules of the ports of Services and Endpoints.</summary>
internal static class ServicePorts
{
    public static readonly string[] Protocols = ["SCTP", "TCP", "UDP"];

    /// <summary>Checks the ports of a Service.</summary>
    public static void Validate(JsonObject? spec, FieldPath path, FieldErrors errors)
    {
        var count = spec.GetArray("ports")?.Count ?? 0;
        var type = spec.GetString("type");
        var names = new HashSet<string>(StringComparer.Ordinal);
        var ports = new HashSet<(string?, long)>();
        var nodePorts = new HashSet<(string?, long)>();
        foreach (var (index, port) in spec.Items("ports"))
        {
            var at = path.Index(index);
            ValidateName(port, count > 1, names, at, errors);
            ValidateCommon(port, "port", at, errors);
            ValidateTarget(port["targetPort"], at.Child("targetPort"), errors);
            var protocol = port.GetString("protocol");
            var number = port.GetLong("port") ?? 0;
            if (!ports.Add((protocol, number)))
                errors.Duplicate(at, Shown(protocol, number));
            var nodePort = port.GetLong("nodePort") ?? 0;
            if (nodePort == 0)
                continue;
            if (type is "ClusterIP")
                errors.Forbidden(at.Child("nodePort"), "may not be used when `type` is 'ClusterIP'");
            if (nodePort is < 1 or > 65535)
                errors.Invalid(at.Child("nodePort"), nodePort, ContainerRules.PortRange);
            else if (!nodePorts.Add((protocol, nodePort)))
                errors.Duplicate(at.Child("nodePort"), nodePort);
        }
    }

    /// <summary>Checks one port of an Endpoints subset.</summary>
    public static void ValidateEndpointPort(JsonObject port, bool named, FieldPath path, FieldErrors errors)
    {
        ValidateName(port, named, null, path, errors);
        ValidateCommon(port, "port", path, errors);
    }

    private static void ValidateName(JsonObject port, bool required, HashSet<string>? names, FieldPath path, FieldErrors errors)
    {
        var name = port.GetString("name") ?? "";
        if (name.Length == 0)
        {
            if (required)
                errors.Required(path.Child("name"));
            return;
        }
        errors.InvalidIf(NameSyntax.Label(name), path.Child("name"), name);
        if (names is not null && !names.Add(name))
            errors.Duplicate(path.Child("name"), name);
    }

    private static void ValidateCommon(JsonObject port, string member, FieldPath path, FieldErrors errors)
    {
        if (port.GetLong(member) is not (>= 1 and <= 65535) and var number)
            errors.Invalid(path.Child(member), number ?? 0, ContainerRules.PortRange);
        PodSpecRules.ValidateChoice(port, "protocol", path, Protocols, errors);
        if (port.GetString("appProtocol") is { Length: > 0 } application)
            errors.InvalidIf(NameSyntax.QualifiedName(application), path.Child("appProtocol"), application);
    }

    private static void ValidateTarget(JsonNode? target, FieldPath path, FieldErrors errors)
    {
        if (JsonReading.AsString(target) is { } name)
        {
            foreach (var message in NameSyntax.PortName(name))
                errors.Invalid(path, name, message);
        }
        else if (JsonReading.AsLong(target) is not (>= 1 and <= 65535) and var number)
        {
            errors.Invalid(path, number ?? 0, ContainerRules.PortRange);
        }
    }

    private static GoText Shown(string? protocol, long port) => GoText.Bare(
        $"core.ServicePort{{Name:\"\", Protocol:\"{protocol}\", AppProtocol:(*string)(nil), Port:{port}, " +
        "TargetPort:intstr.IntOrString{Type:0, IntVal:0, StrVal:\"\"}, NodePort:0}");
}
