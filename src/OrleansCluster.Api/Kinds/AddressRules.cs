using System.Net;
using System.Net.Sockets;

namespace OrleansCluster.Api;

/// <summary>Rules of IP addresses in Services and endpoints.</summary>
internal static class AddressRules
{
    public const string NotAnIP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

    /// <summary>An address that pods of other machines can reach: not loopback, link-local or multicast.</summary>
    public static void ValidateEndpointIP(string text, FieldPath path, FieldErrors errors)
    {
        if (!NameSyntax.TryParseIP(text, out var ip))
        {
            errors.Invalid(path, text, NotAnIP);
            return;
        }
        var bytes = ip.GetAddressBytes();
        var v4 = ip.AddressFamily == AddressFamily.InterNetwork;
        if (ip.Equals(IPAddress.Any) || ip.Equals(IPAddress.IPv6Any))
            errors.Invalid(path, text, $"may not be unspecified ({ip})");
        if (IPAddress.IsLoopback(ip))
            errors.Invalid(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
        if (v4 ? bytes is [169, 254, ..] : ip.IsIPv6LinkLocal)
            errors.Invalid(path, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
        if (v4 ? bytes is [224, 0, 0, _] : bytes is [0xff, 0x02, ..])
            errors.Invalid(path, text, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}
